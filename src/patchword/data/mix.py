"""Mixup and CutMix of a batch, one draw for all of it, as a function of (seed, epoch, batch).

Papers: Zhang et al., "mixup: beyond empirical risk minimization", 2018; Yun et al., "CutMix:
regularization strategy to train strong classifiers with localizable features", 2019.
Reference: timm's `Mixup(mode="batch")`. Departure: pictures are mixed with their neighbours (0 with
1, 2 with 3, ...), not in reverse, so that any slice of an even size mixes as the whole batch would.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from patchword.data.augment import Mixing
from patchword.data.draw import Stream
from patchword.errors import ShapeError


class MixPlan(NamedTuple):
    """How one batch is mixed."""

    lam: float  # what a picture keeps of itself
    centre: tuple[float, float] | None  # of CutMix's box: shares of rows and columns; None: Mixup

    def box(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """Return top, bottom, left and right of CutMix's box, cut off at the border."""
        assert self.centre is not None
        top, bottom = _span(rows, self.lam, self.centre[0])
        left, right = _span(columns, self.lam, self.centre[1])
        return top, bottom, left, right


def _span(side: int, lam: float, centre: float) -> tuple[int, int]:
    length, middle = int(side * math.sqrt(1 - lam)), int(side * centre)
    return max(middle - length // 2, 0), min(middle + (length + 1) // 2, side)


def draw_mix(mixing: Mixing, seed: int, epoch: int, batch: int) -> MixPlan | None:
    """Draw how a batch is mixed; `batch` is its number in the epoch or since the start."""
    draw = np.random.Generator(
        np.random.Philox(np.random.SeedSequence((seed, Stream.MIX, epoch, batch)))
    )
    active, switch, *centre = draw.random(4).tolist()
    if not (mixing.mixup or mixing.cutmix) or active >= mixing.probability:
        return None
    cut = bool(mixing.cutmix) and (not mixing.mixup or switch < mixing.switch)
    alpha = mixing.cutmix if cut else mixing.mixup
    lam = float(draw.beta(alpha, alpha))
    return MixPlan(lam, (centre[0], centre[1]) if cut else None)


def apply_mix(
    images: Float[Tensor, "b c h w"], targets: Float[Tensor, "b classes"], plan: MixPlan
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b classes"]]:
    """Mix each picture and its target with its neighbour's; neither argument is changed.

    CutMix's targets follow the share of the pixels that were really pasted.

    Raises:
        ShapeError: the batch has an odd size.
    """
    lam = plan.lam
    if plan.centre is None:
        mixed = images * lam + neighbours(images) * (1 - lam)
    else:
        rows, columns = images.shape[-2:]
        top, bottom, left, right = plan.box(rows, columns)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = neighbours(images[..., top:bottom, left:right])
        lam = 1 - (bottom - top) * (right - left) / (rows * columns)
    return mixed, targets * lam + neighbours(targets) * (1 - lam)


def neighbours(batch: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "b ..."]:
    """Return each row's partner: row i XOR 1."""
    if len(batch) % 2:
        raise ShapeError(f"a batch of {len(batch)} cannot be mixed in pairs; make it even")
    return batch.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
