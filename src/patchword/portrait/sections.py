"""The figures of the page, question by question: each with what it shows and how to read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from patchword.pages.inspect import Panel, Plate, Section, Viewed
from patchword.portrait.answers import answers_panel
from patchword.portrait.features import cka_panel, map_panel, neighbours_panel, tokens_panel
from patchword.portrait.heads import distance_panel, entropy_panel
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sight, Sitter
from patchword.portrait.weights import filters_panel, positions_panel

IN_A_STRIP = 6  # pictures


@dataclass(frozen=True)
class Look:
    """A model, and what it sees in held-out pictures, where there are any."""

    who: Sitter
    seen: Sight | None
    viewed: tuple[Viewed, ...] = ()


def sections(looks: Sequence[Look], shown: Sequence[Picture]) -> tuple[Section, ...]:
    """Draw every figure for each model; what a model lacks is a sentence in its place."""
    return (_answers(looks, shown), _heads(looks, shown), _features(looks, shown), _weights(looks))


def _plate(
    id: str, title: str, caption: str, looks: Sequence[Look], draw: Callable[[Look], Panel]
) -> Plate:
    return Plate(id=id, title=title, caption=caption, panels=tuple(map(draw, looks)))


def _answers(looks: Sequence[Look], shown: Sequence[Picture]) -> Section:
    plate = _plate(
        "answers",
        "Where each answer comes from",
        "Each picture with its true class and the answer; then, over a grey copy, where the last "
        "layer attends (the class token, or the mean of all places), and what reaches the answer "
        "through all layers by attention rollout. Bright is much, relative to the brightest of the "
        "same picture. Glow on the background of a mistake says what misled the model.",
        looks,
        lambda look: answers_panel(look.who, shown, look.viewed),
    )
    return Section(
        id="answers",
        title="Answers",
        lead="Mistakes, near misses and sure answers, and what in the picture they rest on.",
        plates=(plate,),
    )


def _heads(looks: Sequence[Look], shown: Sequence[Picture]) -> Section:
    plates = (
        _plate(
            "distance",
            "How far heads look",
            "The mean distance from a patch to what it attends to, in pixels of the input, by "
            "layer: of the head that looks farthest, of all, and of the nearest. Early layers with "
            "near and far heads see details and the whole at once; late ones mostly look far.",
            looks,
            lambda look: distance_panel(look.who, shown),
        ),
        _plate(
            "entropy",
            "How spread attention is",
            "The entropy of what a patch attends to, by layer, in percent of that of attending to "
            "everything alike. Low is a look at a few places, 100 % no choice at all; near 0 a "
            "head has collapsed onto one place.",
            looks,
            lambda look: entropy_panel(look.who, shown),
        ),
    )
    return Section(
        id="heads",
        title="Heads",
        lead="What the heads of each layer do on these pictures, in numbers.",
        plates=plates,
    )


def _features(looks: Sequence[Look], shown: Sequence[Picture]) -> Section:
    few = shown[:IN_A_STRIP]
    plates = [
        _plate(
            "tokens",
            "Tokens, level by level",
            "The cells of some levels, from the first to the last: their three main directions are "
            "red, green and blue, the same for all pictures of a column. Cells of one colour are "
            "alike to the model; where a column shows things rather than edges, it has found them.",
            looks,
            lambda look: tokens_panel(look.who, few),
        ),
        _plate(
            "levels",
            "How alike levels are",
            "Linear CKA of each pair of levels, over the means of their cells: at 1 they tell the "
            "pictures apart in the same way, at 0 in unrelated ways. A dark block is depth that "
            "changes little; a sudden edge is where the network turns to something else.",
            looks,
            lambda look: cka_panel(look.seen),
        ),
        _plate(
            "map",
            "Map of the held-out pictures",
            "Each dot is a picture, placed by the two directions in which the features that the "
            "head reads differ most, coloured by its true class; a ring is a wrong answer. Classes "
            "that lie apart are easily told; a ring deep in another class is worth a look.",
            looks,
            lambda look: map_panel(look.seen),
        ),
        _plate(
            "neighbours",
            "Nearest pictures",
            "Held-out pictures whose features point the same way, the nearest first, with their "
            "class and cosine. What neighbours share is what the model goes by.",
            looks,
            lambda look: neighbours_panel(look.seen),
        ),
    ]
    if len(looks) == 2 and looks[0].seen is not None:
        plates.insert(
            2,
            Plate(
                id="between",
                title="How alike the levels of both are",
                caption=f"Linear CKA between each level of {looks[0].who.name} (rows) and each of "
                f"{looks[1].who.name} (columns), over the same pictures: a dark diagonal says that "
                "both work through the same steps.",
                panels=(cka_panel(looks[0].seen, looks[1].seen),),
            ),
        )
    return Section(
        id="features",
        title="Features",
        lead="What the pictures are to the model itself, from its first level to its last.",
        plates=tuple(plates),
    )


def _weights(looks: Sequence[Look]) -> Section:
    plates = (
        _plate(
            "filters",
            "Patch filters",
            "The main patterns that the first layer looks for in a patch, the strongest first. "
            "Smooth waves and edges are what trained networks learn; noise is an untrained one.",
            looks,
            lambda look: filters_panel(look.who),
        ),
        _plate(
            "positions",
            "Position similarity",
            "Each tile belongs to the patch at its own place and shows how alike that patch's "
            "position embedding is to those of all patches; rows, columns or neighbourhoods that "
            "stand out are geometry the model has learnt.",
            looks,
            lambda look: positions_panel(look.who),
        ),
    )
    return Section(
        id="weights",
        title="Weights",
        lead="What the weights show by themselves, with no picture put in.",
        plates=plates,
    )
