"""Relative depth: learn inverse depths up to a scale and a shift of each image's own.

Paper      Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, arXiv:1907.01341,
           section 5; so DPT is trained: Ranftl et al. 2021, arXiv:2103.13413, section 4.1
Reference  the co-author's code, gist.github.com/dvdhfnr/732c26b61a0e63a0abc8a5d769dbebd0, of the
           squared variant with `reduction="image-based"`; equations 5 to 8 of the trimmed one
Departures an image without a known pixel has no part in the mean
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from patchword.errors import ConfigError
from patchword.heads.dense import MAIN, Dense
from patchword.tasks.base import Loss, Task


@dataclass(frozen=True, kw_only=True)
class DepthLoss:
    """What the loss is made of."""

    distance: Literal["trimmed", "mse"] = "trimmed"  # after alignment: L1 of most, or squared
    trim: float = 0.2  # share of the largest residuals that is left out
    gradient: float = 0.5  # weight of the differences between neighbours
    scales: int = 4  # grids on which these are taken, each half as fine as the last

    def __post_init__(self) -> None:
        if not 0 <= self.trim < 1 or self.gradient < 0 or self.scales < 1:
            raise ConfigError(
                f"trim is {self.trim}, gradient {self.gradient}, scales {self.scales}; wanted: a "
                "share below 1, a weight of 0 or more, 1 grid or more"
            )


class Depths(NamedTuple):
    """Images and the inverse depth of their pixels."""

    images: Float[Tensor, "b c h w"]  # normalised
    targets: Float[Tensor, "b h w"]  # in any unit; not finite where it is not known
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read


class Depth(Task):
    """The distance from the targets after each image's own alignment, and that of its edges."""

    def __init__(self, model: Dense, how: DepthLoss | None = None) -> None:
        super().__init__()
        self.model, self.how = model, how or DepthLoss()

    def count(self, batch: Depths) -> Float[Tensor, ""]:
        """Count the images that have a known pixel."""
        return (batch.targets.isfinite().flatten(1).any(dim=1) * batch.weights).sum()

    def forward(self, batch: Depths, count: Float[Tensor, ""]) -> Loss:
        """Return the mean over the step's images."""
        found = self.model.heads(batch.images)[MAIN][:, 0]
        exact = torch.promote_types(found.dtype, torch.float32)
        known = batch.targets.isfinite()
        wanted = batch.targets.to(exact).masked_fill(~known, 0)
        data, edges = costs(found.to(exact), wanted, known, self.how)
        parts = {
            name: (each * batch.weights).sum() / count.clamp(min=1)
            for name, each in (("data", data), ("gradient", edges))
        }
        return Loss(parts["data"] + self.how.gradient * parts["gradient"], parts)


def costs(
    found: Float[Tensor, "b h w"],
    wanted: Float[Tensor, "b h w"],
    known: Bool[Tensor, "b h w"],
    how: DepthLoss,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Return each image's distance after alignment, and that of its differences over scales."""
    if how.distance == "mse":
        scale, shift = least_squares(found, wanted, known)
        residual = scale[:, None, None] * found + shift[:, None, None] - wanted
        each = residual.square().masked_fill(~known, 0)
    else:
        residual = standardised(found, known) - standardised(wanted, known)
        size = residual.abs()
        ranks = size.masked_fill(~known, torch.inf).flatten(1).argsort(dim=1).argsort(dim=1)
        most = (known.sum(dim=(1, 2)) * (1 - how.trim)).floor()
        each = size.masked_fill((ranks >= most[:, None]).view_as(known) | ~known, 0)
    pixels = known.sum(dim=(1, 2)).clamp(min=1)
    data = each.sum(dim=(1, 2)) / (2 * pixels)
    steps = [2**k for k in range(how.scales)]
    edges = [edged(residual[:, ::s, ::s], known[:, ::s, ::s]) for s in steps]
    return data, torch.stack(edges).sum(dim=0)


def edged(residual: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return each image's mean difference of residuals between neighbours (equation 11)."""
    total = residual.new_zeros(len(residual))
    for axis in (1, 2):
        count = residual.shape[axis] - 1
        pairs = [x.narrow(axis, start, count) for x in (residual, known) for start in (1, 0)]
        apart = (pairs[0] - pairs[1]).abs().masked_fill(~(pairs[2] & pairs[3]), 0)
        total = total + apart.sum(dim=(1, 2))
    return total / known.sum(dim=(1, 2)).clamp(min=1)


def least_squares(
    found: Float[Tensor, "b h w"], wanted: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Return the scale and the shift that bring each image nearest to its targets (equation 4).

    Both are 0 where the known pixels do not settle them.
    """
    mask = known.to(found.dtype)

    def total(x: Tensor) -> Tensor:
        return (mask * x).sum(dim=(1, 2))

    squares, sums, pixels = total(found * found), total(found), mask.sum(dim=(1, 2))
    products, targets = total(found * wanted), total(wanted)
    determinant = squares * pixels - sums * sums
    settled = determinant != 0
    safe = torch.where(settled, determinant, 1)
    scale = torch.where(settled, (pixels * products - sums * targets) / safe, 0)
    shift = torch.where(settled, (squares * targets - sums * products) / safe, 0)
    return scale, shift


def standardised(x: Float[Tensor, "b h w"], known: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Shift each image by its median, and scale it by its mean distance from it (equation 5)."""
    held = torch.where(known, x, torch.nan).flatten(1)
    middle = held.nanmedian(dim=1).values.nan_to_num()[:, None, None]
    pixels = known.sum(dim=(1, 2)).clamp(min=1)
    spread = (x - middle).abs().masked_fill(~known, 0).sum(dim=(1, 2)) / pixels
    return (x - middle) / spread.clamp(min=1e-6)[:, None, None]
