"""Scenes as a report and an answer show them: what is true and what was answered, in colours."""

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from patchword.data import Source
from patchword.data.scene import VOID, Scene
from patchword.evaluation.protocol import Finding
from patchword.evaluation.viewing import Seen, Viewer, Viewing
from patchword.factory import metric
from patchword.pages.overlays import coloured_depth, overlay, palette
from patchword.pages.report import Coloured, Scenes, Shown

WORST, BEST = 9, 3
Colours = UInt8[np.ndarray, "h w 3"]


def pictured(viewer: Viewer, source: Source, found: Finding) -> Scenes:
    """Return the pictures that were answered worst, the worst first, then the best ones."""
    ranked = sorted(found.pictures, key=lambda pair: pair[1])
    worst = ranked[:WORST]
    best = [pair for pair in ranked[: -BEST - 1 : -1] if pair not in worst]
    how = Viewing()
    return Scenes(
        score=found.scores[0].name,
        worst=tuple(shown(viewer, source, index, score, how) for index, score in worst),
        best=tuple(shown(viewer, source, index, score, how) for index, score in best),
        legend=legend(viewer),
    )


def legend(viewer: Viewer) -> tuple[Coloured, ...]:
    """Name the colours of classes; depths have a scale."""
    if viewer.card.kind != "mask":
        return ()
    colours = palette()
    names = viewer.card.classes or tuple(map(str, range(viewer.card.num_classes)))
    return tuple(
        Coloured(name=name, colour="#{:02x}{:02x}{:02x}".format(*colours[number].tolist()))
        for number, name in enumerate(names)
    )


def shown(viewer: Viewer, source: Source, index: int, score: float, how: Viewing) -> Shown:
    """Return a picture of a source with its truth and its answer."""
    seen = Seen(index, source.read(index), source.scene(index))
    return Shown(
        name=source.name(index),
        score=score,
        picture=pixels(seen.picture),
        truth=true_colours(viewer, source, seen.picture, seen.scene),
        answer=colours(viewer, seen.picture, answer(viewer, seen.picture, how)),
    )


def answer(
    viewer: Viewer, picture: UInt8[Tensor, "c h w"], how: Viewing
) -> UInt8[Tensor, "h w"] | Float32[Tensor, "h w"]:
    """Answer the places of a picture: their classes, or their depths."""
    return (viewer.classes if viewer.card.kind == "mask" else viewer.depths)(picture, how)


def colours(
    viewer: Viewer,
    picture: UInt8[Tensor, "c h w"],
    answered: UInt8[Tensor, "h w"] | Float32[Tensor, "h w"],
) -> Colours:
    """Draw an answer: classes over the picture, depths from near to far."""
    if viewer.card.kind == "mask":
        return overlay(pixels(picture), answered.numpy())
    near = answered.clamp(min=1e-6).reciprocal() if metric(viewer.card) else answered
    return coloured_depth(near.numpy())


def true_colours(
    viewer: Viewer, source: Source, picture: UInt8[Tensor, "c h w"], scene: Scene
) -> Colours:
    """Draw what is known of a picture, in the colours of the answers."""
    if scene.mask is not None:
        numbers = viewer.card.classes or source.classes
        table = torch.full((256,), VOID, dtype=torch.uint8)
        for place, name in enumerate(source.classes):
            table[place] = numbers.index(name)
        return overlay(pixels(picture), table[scene.mask.long()].numpy())
    assert scene.depth is not None
    near = scene.depth.reciprocal().where(scene.depth > 0, torch.nan)
    return coloured_depth(near.numpy())


def pixels(image: UInt8[Tensor, "c h w"]) -> Colours:
    """Return pixels as pages want them, in red, green and blue."""
    three = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    return np.ascontiguousarray(three.permute(1, 2, 0).numpy())
