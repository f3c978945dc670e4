"""What heads do, layer by layer: how far they look, and how spread."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from patchword.data.frame import frame
from patchword.inspection.distance import attention_distance
from patchword.inspection.entropy import attention_entropy
from patchword.pages.figures import Chart, Series
from patchword.pages.inspect import Panel
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.predictor import normalise


def images(who: Sitter, shown: Sequence[Picture]) -> Float[Tensor, "b c h w"]:
    """Return pictures as a model reads them, on its device."""
    framed = torch.stack([frame(p.pixels, who.card.preprocessing) for p in shown])
    where = next(who.model.parameters()).device
    return normalise(framed.to(where), who.card.preprocessing)


def distance_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the mean attention distance of the heads, by depth."""
    return _panel(
        who,
        _mean([attention_distance(who.model, image[None]) for image in images(who, shown)]),
        Chart(title="Attention distance", x_label="layer", y_label="pixels", series=()),
        ("farthest head", "mean of heads", "nearest head"),
    )


def entropy_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the entropy of the heads as a share of the most that it can be, by depth."""
    found = [attention_entropy(who.model, image[None]) for image in images(who, shown)]
    percent = [{name: 100 * e.nats / e.most for name, e in each.items()} for each in found]
    return _panel(
        who,
        _mean(percent),
        Chart(title="Attention entropy", x_label="layer", y_label="% of the most", series=()),
        ("most spread head", "mean of heads", "most focused head"),
    )


def _mean(found: Sequence[dict[str, Float[Tensor, " heads"]]]) -> dict[str, Tensor]:
    """Average over pictures, of which one at a time was looked at: maps of many do not fit."""
    return {name: torch.stack([each[name] for each in found]).mean(dim=0) for name in found[0]}


def _panel(
    who: Sitter, layers: dict[str, Tensor], chart: Chart, names: tuple[str, str, str]
) -> Panel:
    if not layers:
        return Panel(absent=without(who))
    depth = tuple(range(1, len(layers) + 1))
    most, mean, least = (
        tuple(float(each(heads)) for heads in layers.values())
        for each in (torch.max, torch.mean, torch.min)
    )
    lines = zip(names, (most, mean, least), strict=True)
    series = tuple(Series(name=name, x=depth, y=y) for name, y in lines)
    return Panel(drawn=replace(chart, series=series))


def without(who: Sitter) -> str:
    """Say that nothing attends."""
    return (
        f"{who.card.model} has no layer in which places of the picture attend to one another, so "
        "there is nothing of the kind to draw."
    )
