"""Looking inside a model, or two side by side: from runs and pictures to the page."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from patchword.data.frame import frame
from patchword.errors import ConfigError
from patchword.pages.inspect import Inside, Run, Viewed, write_inside
from patchword.pages.maps import pooled
from patchword.pages.report import Facts, Figure
from patchword.portrait.attention import layers
from patchword.portrait.pictures import Picture, named, telling
from patchword.portrait.places import alone, answers_places, inspect_places
from patchword.portrait.sections import Look, sections
from patchword.portrait.sight import Sitter, sight, sitter
from patchword.predictor import normalise
from patchword.results import Inspected
from patchword.training.judge import progress, stored_run
from patchword.training.origin import environment
from patchword.training.report import pixels


def inspect(
    run: Path,
    patterns: Sequence[str],
    *,
    out: Path | None,
    against: Path | None,
    checks: bool,
    device: str,
) -> Inspected:
    """Look inside a model, and write what is there into a page.

    Raises:
        ConfigError: no pictures are named, and the model does not say what it was trained on; or
            what is asked for is of classifiers, and the model is none.
    """
    if answers_places(run):
        alone(run, against, checks=checks)
        return inspect_places(run, patterns, out=out, device=device)
    began = time.perf_counter()
    sitters = [sitter(each, device) for each in (run, against) if each is not None]
    data = sitters[0].data
    alike(sitters)
    if data is None and not patterns:
        raise ConfigError(f"{run} does not say what it was trained on: name pictures after it")
    progress("looking at held-out pictures")
    looks = [Look(who, None if data is None else sight(who, data)) for who in sitters]
    seen = looks[0].seen
    if patterns or seen is None:
        shown, unread = named(patterns, sitters[0].card.pixels)
    else:
        shown, unread = telling(seen), list[str]()
    with torch.random.fork_rng(devices=[]):
        runs = tuple(viewed(look.who, shown) for look in looks)
        looks = [replace(look, viewed=run.viewed) for look, run in zip(looks, runs, strict=True)]
        figures = sections(looks, shown, checks=checks)
    name = sitters[0].name.replace(":", "-")  # of a library's model, on systems that forbid it
    folder = out or (run if stored_run(run) else Path("inspect") / name)
    page = Inside(
        title=f"Inside {sitters[0].name}" + (f" and {sitters[1].name}" if against else ""),
        subtitle=subtitle(looks, shown),
        headline=tuple(fact for look in looks for fact in headline(look, several=len(looks) > 1)),
        notes=tuple(f"not shown: {reason}" for reason in unread),
        runs=runs,
        sections=figures,
        facts=facts(looks, time.perf_counter() - began),
    )
    found = write_inside(page, folder / "inspect.html")
    progress("")
    said = {plate.id: plate.caption for section in figures for plate in section.plates}
    return Inspected(folder / "inspect.html", page.title, found, said)


def alike(sitters: Sequence[Sitter]) -> None:
    """Make sure that two models can be shown the same pictures.

    Raises:
        ConfigError: they read other channels.
    """
    channels = [who.model.backbone.config.in_chans for who in sitters]
    if len(set(channels)) > 1:
        (a, b), (one, other) = sitters, channels
        raise ConfigError(
            f"{a.name} reads pictures of {one} channels and {b.name} of {other}: they cannot be "
            "shown the same; look into each by itself"
        )


def viewed(who: Sitter, shown: Sequence[Picture]) -> Run:
    """Have a model answer each picture, and record what it attends to."""
    found = list[Viewed]()
    predictor, where = who.predictor, next(who.model.parameters()).device
    for number, picture in enumerate(shown):
        progress(f"{who.name}: attention in picture {number + 1} of {len(shown)}")
        framed = frame(picture.pixels, who.card.preprocessing)
        answer = predictor.answers([framed], top=3)[0]
        image = normalise(framed[None].to(where), who.card.preprocessing)[0]
        maps = layers(who.model.backbone, image)
        likeliest = answer.probabilities[0] if answer.probabilities else 0.0
        verdict = picture.why
        if picture.why and answer.probabilities:  # chosen by the first model, judged for each
            right = answer.names[0] == picture.truth
            verdict = ("near miss" if picture.why == "near miss" else "right") if right else "wrong"
        found.append(
            Viewed(
                picture=pixels(framed),
                title=picture.truth or picture.name,
                answer=f"Answered {answer}",
                brief=str(answer) if answer.values else f"{answer.names[0]} {likeliest:.1%}",
                verdict=verdict,
                layers=maps if number == 0 else tuple(pooled(each, heads=False) for each in maps),
            )
        )
    absent = who.unseen or (
        f"{who.card.model} has no layer in which places of the picture attend to one another: "
        "what it draws on is shown below by other means."
    )
    return Run(name=who.name, viewed=tuple(found), absent=absent)


def subtitle(looks: Sequence[Look], shown: Sequence[Picture]) -> str:
    """Say in a sentence what was looked into."""
    models = " and ".join(dict.fromkeys(look.who.card.model for look in looks))
    pictures = "picture" if len(shown) == 1 else "pictures"
    seen = looks[0].seen
    held = "" if seen is None else f", and {len(seen.source)} of its {seen.split} split in numbers"
    return f"{models}, shown {len(shown)} {pictures}{held}."


def headline(look: Look, *, several: bool) -> tuple[Figure, ...]:
    """Return the numbers that stand at the top."""
    who, seen = look.who, look.seen
    mark = f"{who.name}: " if several else ""
    size = sum(p.numel() for p in who.model.parameters())
    found = [Figure(label=f"{mark}parameters", value=f"{size / 1e6:.1f} M", note=who.card.model)]
    if seen is not None and seen.right is not None:
        right = seen.right
        note = f"{sum(right)} of {len(right)} {seen.split} pictures that were looked at"
        share = sum(right) / len(right)
        found.insert(0, Figure(label=f"{mark}answered right", value=f"{share:.1%}", note=note))
    return tuple(found)


def facts(looks: Sequence[Look], seconds: float) -> tuple[Facts, ...]:
    """Say what was looked into, and how."""
    machine = environment()
    models = tuple(
        Facts(
            title=look.who.name,
            rows=(
                ("model", look.who.card.model),
                ("image size", "x".join(map(str, look.who.card.preprocessing.image_size))),
                ("levels", ", ".join(level.name for level in look.who.model.backbone.levels)),
            ),
        )
        for look in looks
    )
    rows = (
        ("seconds", f"{seconds:.0f}"),
        ("processor", str(machine["processor"])),
        ("threads", str(machine["threads"])),
        ("libraries", ", ".join(f"{k} {v}" for k, v in machine["libraries"].items())),
        ("date", str(machine["date"])),
        ("command", " ".join(machine["command"])),
    )
    return (*models, Facts(title="Made", rows=rows))
