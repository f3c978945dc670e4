"""Whether maps of what an answer rests on can be trusted, and what it takes to find out."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.inspection.attribution import gradcam, relevance
from patchword.inspection.curves import Curve, deletion, insertion
from patchword.inspection.sanity import sanity
from patchword.pages.figures import Chart, Series
from patchword.pages.inspect import Panel
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.training.judge import progress
from patchword.training.screen import clock

STEPS = 10  # of a curve
BACKWARD = 3  # forward passes that a gradient costs, its own forward pass among them
SEED = 0  # of the random order, and of random weights


@dataclass(frozen=True)
class Price:
    """What checking a model's maps costs."""

    passes: int  # over all pictures
    seconds: float

    def __str__(self) -> str:
        """Say it in words."""
        return f"about {self.passes} passes over the pictures, {clock(self.seconds)}"


@torch.no_grad()
def price(who: Sitter, shown: Sequence[Picture], maps: Sequence[str]) -> Price:
    """Work out what the checks of some maps will cost, from one pass that is timed."""
    read = images(who, shown)
    who.model(read)
    began = time.perf_counter()
    who.model(read)
    each = time.perf_counter() - began
    curves = 2 * (len(maps) + 1) * (STEPS + 1)
    parts = len(who.model.backbone.spine()) + 2  # the head, and the map itself
    drawn = sum(name in ("relevance", "Grad-CAM") for name in maps)
    passes = curves + drawn * parts * BACKWARD
    return Price(passes, passes * each)


@dataclass(frozen=True)
class Checked:
    """The panels of the checks of one model."""

    deletion: Panel
    insertion: Panel
    sanity: Panel


def checked(
    who: Sitter, shown: Sequence[Picture], found: dict[str, list[Float[Tensor, "1 rows columns"]]]
) -> Checked:
    """Say the price of checking a model's maps, then check them."""
    if who.card.kind not in ("class", "shares"):
        none = Panel(
            absent=f"{who.card.model} does not answer with one class, which checks follow."
        )
        return Checked(none, none, none)
    print(f"checks of {who.name}: {price(who, shown, list(found))}", file=sys.stderr)
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
    for name, draw in (("relevance", _relevance), ("Grad-CAM", gradcam)):
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


def _relevance(
    model: Classifier, read: Float[Tensor, "b c h w"], targets: Tensor | None
) -> Float[Tensor, "b rows columns"]:
    found = relevance(model, read, targets)
    assert found is not None  # it applies to this model, or it would not be checked
    return found
