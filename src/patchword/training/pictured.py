"""Scenes as a report and an answer show them: what is true and what was answered, in colours."""

from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from patchword.data import Source
from patchword.data.scene import VOID, Scene
from patchword.evaluation.looker import Parter, Seen, Spotter
from patchword.evaluation.protocol import Finding
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.factory import metric
from patchword.pages.overlays import coloured_depth, overlay, palette
from patchword.pages.report import Coloured, Scenes, Shown
from patchword.training.drawn import (
    kept,
    numbers_of,
    small_boxes,
    small_parts,
    small_truth,
    true_parts,
)
from patchword.training.worded import MANY

WORST, BEST = 9, 3
READINGS = {
    "mask": "What nobody labelled is dark.",
    "depth": "The lighter, the nearer; each picture has a scale of its own, and black is unknown.",
    "objects": "Boxes have the colours of their classes; answers are drawn from a score of {:.2g} "
    "on, crowds are left out.",
    "panoptic": "Segments have shades of their classes' colours; what is in none is dark.",
}
Colours = UInt8[np.ndarray, "h w 3"]
OfScenes: TypeAlias = Viewer | Spotter | Parter


def pictured(subject: OfScenes, source: Source, found: Finding) -> Scenes:
    """Return the pictures that were answered worst, the worst first, then the best ones."""
    ranked = sorted(found.pictures, key=lambda pair: pair[1])
    worst = ranked[:WORST]
    best = [pair for pair in ranked[: -BEST - 1 : -1] if pair not in worst]
    least = found["threshold"].value if isinstance(subject, Spotter) else 0.0
    return Scenes(
        score=found.ranked or found.scores[0].name,
        reading=READINGS[subject.card.kind].format(least),
        worst=tuple(shown(subject, source, *one, least) for one in worst),
        best=tuple(shown(subject, source, *one, least) for one in best),
        legend=legend(subject, source, found),
    )


def legend(subject: OfScenes, source: Source, found: Finding) -> tuple[Coloured, ...]:
    """Name the colours of classes, those that are there where there are many; depths have none."""
    if subject.card.kind == "depth":
        return ()
    colours, counts = palette(), [each.count for each in found.per_class]
    return tuple(
        Coloured(name=name, colour="#{:02x}{:02x}{:02x}".format(*colours[number].tolist()))
        for number, name in enumerate(subject.card.names)
        if len(counts) <= MANY or counts[number]
    )


def shown(subject: OfScenes, source: Source, index: int, score: float, least: float) -> Shown:
    """Return a picture of a source with its truth and its answer."""
    seen = Seen(index, source.read(index), source.scene(index))
    truth, answer = both(subject, source, seen, least)
    return Shown(
        name=source.name(index),
        score=score,
        picture=pixels(seen.picture),
        truth=truth,
        answer=answer,
    )


def both(subject: OfScenes, source: Source, seen: Seen, least: float) -> tuple[Colours, Colours]:
    """Draw what is known of a picture, and what is answered."""
    picture, scene = pixels(seen.picture), seen.scene
    if isinstance(subject, Spotter):
        assert scene.objects is not None
        found = kept(subject.objects(seen.picture), least)
        truth = small_truth(picture, scene.objects, numbers_of(source, subject.card))
        return truth, small_boxes(picture, found, found.labels)
    if isinstance(subject, Parter):
        assert scene.panoptic is not None
        names, found = subject.card.names, subject.parts(seen.picture)
        truth = true_parts(scene.panoptic, numbers_of(source, subject.card))
        return small_parts(picture, truth, names), small_parts(picture, found, names)
    answered = colours(subject, seen.picture, answer(subject, seen.picture, Viewing()))
    return true_colours(subject, source, seen.picture, scene), answered


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
