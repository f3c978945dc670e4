"""Whether maps of what an answer rests on can be trusted, and what it takes to find out."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.heads.classify import Classifier
from patchword.inspection.attribution import Attribution, gradcam, predicted, relevance
from patchword.inspection.curves import Curve, deletion, insertion
from patchword.inspection.sanity import sanity
from patchword.pages.figures import Chart, Series
from patchword.pages.inspect import Panel
from patchword.portrait.answers import Maps
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.training.judge import progress
from patchword.training.screen import clock

STEPS = 10  # of a curve
SEED = 0  # of the random order, and of random weights
ENOUGH = 0.5  # seconds that a kind of work is timed for, or once


def _relevance(
    model: Classifier, read: Float[Tensor, "b c h w"], targets: Tensor | None = None
) -> Float[Tensor, "b rows columns"]:
    found = relevance(model, read, targets)
    assert found is not None  # it applies to this model, or it would not be checked
    return found


GRADIENTS: dict[str, Attribution] = {"relevance": _relevance, "Grad-CAM": gradcam}
"""Maps that are made by gradients, which random weights must change."""


@dataclass(frozen=True)
class Price:
    """What checking a model's maps costs."""

    passes: int  # over all pictures
    gradients: int  # maps made by gradients, of all pictures
    seconds: float

    def __str__(self) -> str:
        """Say it in words."""
        made = f" and {self.gradients} maps by gradients" if self.gradients else ""
        return f"about {said(self.seconds)}: {self.passes} passes over the pictures{made}"


def said(seconds: float) -> str:
    """Write a duration with its unit."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{clock(seconds)} min"


def price(who: Sitter, shown: Sequence[Picture], names: Sequence[str]) -> Price:
    """Work out what the checks of some maps will cost, from one of each kind of work, timed.

    Args:
        who: the model.
        shown: the pictures that its maps are of.
        names: of the maps.
    """
    read = images(who, shown)
    parts = sum(any(True for _ in part.parameters()) for part in _parts(who.model))
    drawn = [GRADIENTS[name] for name in names if name in GRADIENTS]
    targets = predicted(who.model, read)
    passes = (len(names) + 1) * (2 * (STEPS + 1) + 1) + len(drawn)
    with torch.no_grad():
        seconds = passes * timed(partial(who.model, read))
    each = parts + 1  # parts made random, and the model's own
    seconds += sum(each * timed(partial(draw, who.model, read, targets)) for draw in drawn)
    return Price(passes, each * len(drawn), seconds)


def _parts(model: Classifier) -> list[nn.Module]:
    """Return what becomes random, one after the other."""
    return [model.head, *model.backbone.spine()]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes, once what the first time alone costs is paid."""
    work()
    taken = list[float]()
    while sum(taken) < ENOUGH:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


@dataclass(frozen=True)
class Checked:
    """The panels of the checks of one model, and what they took."""

    deletion: Panel
    insertion: Panel
    sanity: Panel
    seconds: float = 0.0


def refusal(who: Sitter, found: Maps) -> str:
    """Say why a model's maps cannot be checked; nothing where they can."""
    if who.card.kind not in ("class", "shares"):
        return f"{who.card.model} does not answer with one class, which checks follow."
    return "" if found else f"{who.card.model} has no map of what its answers rest on."


def without(reason: str) -> Checked:
    """Say in each panel why there is nothing."""
    none = Panel(absent=reason)
    return Checked(none, none, none)


def each_checked(
    sitters: Sequence[Sitter], shown: Sequence[Picture], found: Sequence[Maps]
) -> list[Checked]:
    """Say what checking each model's maps will cost, then check them.

    Args:
        sitters: the models.
        shown: the pictures that their maps are of.
        found: the maps of each.
    """
    refused = [refusal(*pair) for pair in zip(sitters, found, strict=True)]
    for who, maps, reason in zip(sitters, found, refused, strict=True):
        if not reason:
            print(f"checks of {who.name}: {price(who, shown, list(maps))}", file=sys.stderr)
    return [
        without(reason) if reason else checked(who, shown, maps)
        for who, maps, reason in zip(sitters, found, refused, strict=True)
    ]


def checked(who: Sitter, shown: Sequence[Picture], found: Maps) -> Checked:
    """Check a model's maps."""
    began = time.perf_counter()
    read = images(who, shown)
    maps = {name: torch.cat(each) for name, each in found.items()}
    like = next(iter(maps.values()))
    generator = torch.Generator().manual_seed(SEED)
    maps["random order"] = torch.rand(like.shape, generator=generator).to(like)
    removed, added = dict[str, Curve](), dict[str, Curve]()
    for name, importance in maps.items():
        progress(f"{who.name}: deletion and insertion by {name}")
        removed[name] = deletion(who.model, read, importance, steps=STEPS)
        added[name] = insertion(who.model, read, importance, steps=STEPS)
    return Checked(
        deletion=_curves("Deletion", "% of cells blanked", removed),
        insertion=_curves("Insertion", "% of cells sharpened", added),
        sanity=_sanity(who, read, list(found)),
        seconds=time.perf_counter() - began,
    )


def _curves(title: str, x_label: str, curves: dict[str, Curve]) -> Panel:
    series = tuple(
        Series(
            name=f"{name} (area {float(curve.area.mean()):.2f})",
            x=tuple((100 * curve.share).tolist()),
            y=tuple((100 * curve.probability.mean(dim=0)).tolist()),
        )
        for name, curve in curves.items()
    )
    return Panel(drawn=Chart(title=title, x_label=x_label, y_label="probability, %", series=series))


def _sanity(who: Sitter, read: Float[Tensor, "b c h w"], names: Sequence[str]) -> Panel:
    series = list[Series]()
    for name, draw in GRADIENTS.items():
        if name not in names:
            continue
        progress(f"{who.name}: {name} as weights become random")
        found = sanity(who.model, read, draw, seed=SEED)
        y = tuple(found.correlation.mean(dim=0).tolist())
        series.append(Series(name=name, x=tuple(range(1, len(y) + 1)), y=y))
    if not series:
        return Panel(absent=f"{who.card.model} has no map that is made by gradients.")
    title, label = "Randomisation", "parts made random"
    return Panel(
        drawn=Chart(title=title, x_label=label, y_label="correlation", series=tuple(series))
    )
