"""Reading maps at points between their cells."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.layers.grid import Grid


def centres(grid: Grid, like: Tensor) -> Float[Tensor, "rows columns 2"]:
    """Return row and column of each cell's centre, where a map's sides are at -1 and 1."""
    sides = [
        (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1
        for side in grid
    ]
    return torch.stack(torch.meshgrid(sides, indexing="ij"), dim=-1)


def sample(
    maps: Float[Tensor, "b c h w"], points: Float[Tensor, "b k m 2"]
) -> Float[Tensor, "b c k m"]:
    """Read maps at points, bilinearly: the centres of the outermost cells are at -1 and 1."""
    return F.grid_sample(maps.to(points.dtype), points.flip(-1), align_corners=True)
