"""What is learnt of scenes: of each kind its objective, and what that reads of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from patchword.data import Kind
from patchword.data.scene import VOID
from patchword.data.scene_batches import SceneBatch
from patchword.errors import ConfigError
from patchword.factory import metric
from patchword.heads.dense import Dense
from patchword.predictor import Card
from patchword.recipes.recipe import Recipe
from patchword.tasks.depth import Depth, Depths
from patchword.tasks.segment import Masked, Segment

Images: TypeAlias = Float[Tensor, "b c h w"]
SceneTask: TypeAlias = Segment | Depth


@dataclass(frozen=True)
class Learnt:
    """How one kind of scenes is learnt.

    Attributes:
        task: puts the objective around a model, as a recipe has it.
        read: makes the objective's batch of normalised images on their device and of their scenes.
    """

    task: Callable[[Dense, Recipe], SceneTask]
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


LEARNT: Mapping[Kind, Learnt] = {
    "mask": Learnt(lambda model, recipe: Segment(model, recipe.segmentation), masked),
    "depth": Learnt(lambda model, recipe: Depth(model, recipe.depth), depths),
}


def learnable(kind: Kind, what: str) -> None:
    """Make sure that a training learns a kind of scenes.

    Raises:
        ConfigError: none does.
    """
    if kind not in LEARNT:
        raise ConfigError(
            f"{what} has {kind} beside its pictures, which no training learns yet; wanted: "
            f"{', '.join(LEARNT)}"
        )
