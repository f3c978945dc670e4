"""The figures of the page, question by question, each with a panel for each model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from patchword.pages.inspect import Panel, Plate, Section, Viewed
from patchword.portrait.answers import answers_caption, answers_panel, heats
from patchword.portrait.checks import Checked, each_checked, said
from patchword.portrait.features import (
    cka_panel,
    map_panel,
    neighbours_panel,
    norms_panel,
    tokens_panel,
)
from patchword.portrait.heads import distance_panel, entropy_panel
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sight, Sitter
from patchword.portrait.weights import biases_panel, filters_panel, positions_panel
from patchword.portrait.words import CAPTIONS, SECTIONS, TITLES

IN_A_STRIP = 6  # pictures


@dataclass(frozen=True)
class Look:
    """A model, what it sees in held-out pictures, where there are any, and in those shown."""

    who: Sitter
    seen: Sight | None
    viewed: tuple[Viewed, ...] = ()


def sections(
    looks: Sequence[Look], shown: Sequence[Picture], *, checks: bool = False
) -> tuple[Section, ...]:
    """Draw every figure for each model; what a model lacks is a sentence in its place."""
    few = shown[:IN_A_STRIP]
    rests = [heats(look.who, shown) for look in looks]
    done = each_checked([look.who for look in looks], shown, rests) if checks else []

    def plate(id: str, draw: Callable[[Look], Panel]) -> Plate:
        panels = tuple(map(draw, looks))
        return Plate(id=id, title=TITLES[id], caption=CAPTIONS[id], panels=panels)

    answers = Plate(
        id="answers",
        title=TITLES["answers"],
        caption=answers_caption(list(dict.fromkeys(name for found in rests for name in found))),
        panels=tuple(answers_panel(x.viewed, f) for x, f in zip(looks, rests, strict=True)),
    )
    heads = [
        plate("distance", lambda x: distance_panel(x.who, shown)),
        plate("entropy", lambda x: entropy_panel(x.who, shown)),
    ]
    features = [
        plate("tokens", lambda x: tokens_panel(x.who, few)),
        plate("norms", lambda x: norms_panel(x.who, few)),
        plate("levels", lambda x: cka_panel(x.seen, x.seen)),
        *_between(looks),
        plate("map", lambda x: map_panel(x.seen)),
        plate("neighbours", lambda x: neighbours_panel(x.seen)),
    ]
    weights = [
        plate("filters", lambda x: filters_panel(x.who)),
        plate("positions", lambda x: positions_panel(x.who)),
        plate("biases", lambda x: biases_panel(x.who)),
    ]
    trust = [_of(name, done) for name in ("deletion", "insertion", "sanity") if checks]
    found = zip(SECTIONS.items(), ([answers], trust, heads, features, weights), strict=True)
    took = f" They took {said(sum((each.seconds for each in done), 0.0))} on this machine."
    return tuple(
        Section(id=id, title=title, lead=lead + took * (plates is trust), plates=tuple(plates))
        for (id, (title, lead)), plates in found
        if plates
    )


def _of(name: str, done: Sequence[Checked]) -> Plate:
    panels = {
        "deletion": [each.deletion for each in done],
        "insertion": [each.insertion for each in done],
        "sanity": [each.sanity for each in done],
    }[name]
    return Plate(id=name, title=TITLES[name], caption=CAPTIONS[name], panels=tuple(panels))


def _between(looks: Sequence[Look]) -> list[Plate]:
    if len(looks) < 2 or looks[0].seen is None:
        return []
    panel = cka_panel(looks[0].seen, looks[1].seen)
    return [
        Plate(id="between", title=TITLES["between"], caption=CAPTIONS["between"], panels=(panel,))
    ]
