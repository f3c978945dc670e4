"""Semantic segmentation: learn the class of every pixel.

Paper      per-pixel cross-entropy: Long et al. 2015, arXiv:1411.4038, section 3; auxiliary heads at
           a weight of 0.4: Zhao et al. 2017, arXiv:1612.01105, section 4; hard pixels alone:
           Shrivastava et al. 2016, arXiv:1604.03540
Reference  github.com/open-mmlab/mmsegmentation, mmseg/models/losses/cross_entropy_loss.py and
           core/seg/sampler/ohem_pixel_sampler.py
Departures the mean is over the pixels that have a class, unless `average` says all, as mmseg does
           and so most published trainings; hard pixels are those of a micro-batch
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from patchword.errors import ConfigError
from patchword.heads.dense import MAIN, Dense
from patchword.tasks.base import Loss, Task

IGNORED = 255  # of a target: the pixel has no class


@dataclass(frozen=True, kw_only=True)
class HardPixels:
    """Learn from the pixels whose class the model thinks unlikely (OHEM)."""

    threshold: float = 0.7  # probability of the class, below which a pixel is hard
    kept: int = 100_000  # per image; the threshold rises until so many are hard

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1 or self.kept < 1:
            raise ConfigError(
                f"threshold is {self.threshold}, kept {self.kept}; wanted: a probability above 0, "
                "and 1 pixel or more"
            )


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What the loss is made of."""

    aux_weight: float = 0.4  # of each auxiliary head, beside 1 of the main one
    average: Literal["valid", "all"] = "valid"  # the pixels that the loss is a mean over
    class_weights: tuple[float, ...] | None = None  # by which each class's pixels count
    hard: HardPixels | None = None  # of the main head


class Masked(NamedTuple):
    """Images and the class of every pixel."""

    images: Float[Tensor, "b c h w"]  # normalised
    targets: UInt8[Tensor, "b h w"] | Int[Tensor, "b h w"]  # classes, or IGNORED
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read


class Segment(Task):
    """Cross-entropy of every pixel that has a class, of the head and of its auxiliary heads."""

    def __init__(self, model: Dense, how: Segmentation | None = None) -> None:
        super().__init__()
        self.model, self.how = model, how or Segmentation()
        weights = self.how.class_weights
        classes = None if model.card is None else model.card.num_classes
        if weights is not None and classes not in (None, len(weights)):
            raise ConfigError(f"class_weights has {len(weights)} numbers for {classes} classes")

    def count(self, batch: Masked) -> Float[Tensor, ""]:
        """Count the pixels that the loss is a mean over."""
        pixels = torch.ones_like(batch.targets, dtype=torch.bool)
        if self.how.average == "valid":
            pixels = batch.targets != IGNORED
        return (pixels.sum(dim=(1, 2)) * batch.weights).sum()

    def forward(self, batch: Masked, count: Float[Tensor, ""]) -> Loss:
        """Return the mean over the step's pixels, auxiliary heads by their weight."""
        targets = batch.targets.long()
        known = (targets != IGNORED) & (batch.weights > 0)[:, None, None]
        parts: dict[str, Tensor] = {}
        for name, scores in self.model.heads(batch.images).items():
            costs = self.costs(scores, targets) * batch.weights[:, None, None]
            if name == MAIN and self.how.hard is not None:
                costs = costs * hard(scores, targets, known, self.how.hard)
            parts[name] = costs.sum() / count.clamp(min=1)
        others = [loss for name, loss in parts.items() if name != MAIN]
        return Loss(parts[MAIN] + self.how.aux_weight * sum(others), parts)

    def costs(
        self, scores: Float[Tensor, "b classes h w"], targets: Int[Tensor, "b h w"]
    ) -> Float[Tensor, "b h w"]:
        """Return what each pixel's answer costs; 0 where there is no class."""
        weights = self.how.class_weights
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return F.cross_entropy(
            scores,
            targets,
            weight=None if weights is None else scores.new_tensor(weights),
            ignore_index=IGNORED,
            reduction="none",
        )


@torch.no_grad()
def hard(
    scores: Float[Tensor, "b classes h w"],
    targets: Int[Tensor, "b h w"],
    known: Bool[Tensor, "b h w"],
    how: HardPixels,
) -> Bool[Tensor, "b h w"]:
    """Tell which pixels are hard: less likely than the threshold, or than the `kept`-th least."""
    place = targets.masked_fill(~known, 0)[:, None]
    likely = scores.softmax(dim=1).gather(1, place)[:, 0]
    found = likely[known].sort().values
    if not len(found):
        return known
    bound = found[min(how.kept * len(scores), len(found) - 1)].clamp(min=how.threshold)
    return known & (likely < bound)
