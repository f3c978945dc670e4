"""What is learnt of scenes: of each kind its objective, and what that reads of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from patchword.data import Kind
from patchword.data.scene import VOID, Scene
from patchword.data.scene import Panoptic as Segments
from patchword.data.scene_batches import SceneBatch
from patchword.factory import Model, as_dense, metric
from patchword.heads.detector import Detector
from patchword.heads.max_deeplab import MaXDeepLabHead
from patchword.heads.panoptic import Panoptic
from patchword.predictor import Card
from patchword.recipes.recipe import Recipe
from patchword.tasks.depth import Depth, Depths
from patchword.tasks.detect import Boxed, Detect, boxed
from patchword.tasks.panoptic import BottomUpPanoptic, Parted, parted
from patchword.tasks.segment import Masked, Segment
from patchword.tasks.slots import SlotPanoptic

Images: TypeAlias = Float[Tensor, "b c h w"]
SceneTask: TypeAlias = Segment | Depth | Detect | BottomUpPanoptic | SlotPanoptic


@dataclass(frozen=True)
class Learnt:
    """How one kind of scenes is learnt.

    Attributes:
        task: puts the objective around a model, as a recipe has it.
        read: makes the objective's batch of normalised images on their device and of their scenes.
    """

    task: Callable[[Model, Recipe], SceneTask]
    read: Callable[[Images, SceneBatch, Card], Any]


def masked(images: Images, batch: SceneBatch, card: Card) -> Masked:
    """Return images and the classes of their pixels."""
    masks = stacked([scene.mask for scene in batch.scenes], images, VOID)
    return Masked(images, masks, batch.weights.to(images.device))


def depths(images: Images, batch: SceneBatch, card: Card) -> Depths:
    """Return images and what a model answers of their depths: inverse ones, unless it is metric."""
    metres = stacked([scene.depth for scene in batch.scenes], images, 0)
    targets = metres.where(metres > 0, torch.inf) if metric(card) else metres.reciprocal()
    return Depths(images, targets, batch.weights.to(images.device))


def stacked(
    maps: Sequence[Shaped[Tensor, "_ _"] | None], images: Images, unknown: int
) -> Shaped[Tensor, "b h w"]:
    """Stack the maps of pictures at the top left of their places; the rest is unknown."""
    rows, columns = images.shape[-2:]
    empty = next(found for found in (*maps, torch.zeros(0, 0)) if found is not None)
    found = [empty.new_zeros(0, 0) if each is None else each for each in maps]
    padded = [
        F.pad(m, (0, columns - m.shape[1], 0, rows - m.shape[0]), value=unknown) for m in found
    ]
    return torch.stack(padded).to(images.device)


def objects(images: Images, batch: SceneBatch, card: Card) -> Boxed:
    """Return images, zeros beyond each, and the objects in them; crowds are left out."""
    sizes: list[list[int]] = batch.sizes.tolist()
    seen = [image[:, :rows, :columns] for image, (rows, columns) in zip(images, sizes, strict=True)]
    there = [_single(scene) for scene in batch.scenes]
    return boxed(seen, there)._replace(weights=batch.weights.to(images.device))


def _single(scene: Scene) -> tuple[Tensor, Tensor]:
    """Return boxes and labels of the objects that are one thing each."""
    found = scene.objects
    if found is None:
        return torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    return found.boxes[~found.crowd], found.labels[~found.crowd]


def segments(images: Images, batch: SceneBatch, card: Card) -> Parted:
    """Return images and their segments."""
    empty = Segments(torch.zeros(0, 0, dtype=torch.int32), ())
    known = [scene.panoptic or empty for scene in batch.scenes]
    ids = stacked([one.ids for one in known], images, 0).cpu()
    found = parted(images, [one._replace(ids=own) for one, own in zip(known, ids, strict=True)])
    maps = (found.ids, found.labels, found.crowd, batch.weights)
    return Parted(images, *(each.to(images.device) for each in maps))


def detecting(model: Model, recipe: Recipe) -> Detect:
    """Return what a model learns objects by."""
    assert isinstance(model, Detector)
    return Detect(model, recipe.detection)


def parting(model: Model, recipe: Recipe) -> BottomUpPanoptic | SlotPanoptic:
    """Return what a model learns segments by, as its paper has it."""
    assert isinstance(model, Panoptic)
    if isinstance(model.head, MaXDeepLabHead):
        return SlotPanoptic(model, recipe.slots)
    return BottomUpPanoptic(model, recipe.bottom_up)


LEARNT: Mapping[Kind, Learnt] = {
    "mask": Learnt(lambda model, recipe: Segment(as_dense(model), recipe.segmentation), masked),
    "depth": Learnt(lambda model, recipe: Depth(as_dense(model), recipe.depth), depths),
    "objects": Learnt(detecting, objects),
    "panoptic": Learnt(parting, segments),
}
