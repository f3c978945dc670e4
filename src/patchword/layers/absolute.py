"""Biases by the absolute offset between two cells, the same to all four sides."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid
from patchword.layers.position import Fitted


def offset_index(grid: Grid, *, stride: int = 1) -> Int[Tensor, "n m"]:
    """Return the number of the absolute offset, down and across, of each query and key.

    Args:
        grid: of the keys; offsets are numbered as its cells are.
        stride: of the queries, which are among them.
    """
    down, across = (
        (torch.arange(0, side, stride)[:, None] - torch.arange(side)).abs() for side in grid
    )
    index = down[:, None, :, None] * grid[1] + across[None, :, None, :]
    return index.flatten(2).flatten(0, 1)


class AbsoluteBias(Fitted):
    """A learned number per head and absolute offset between cells (LeViT, section 4.2)."""

    def __init__(self, grid: Grid, heads: int, *, stride: int = 1) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(heads, grid[0] * grid[1]))
        self.register_buffer("index", offset_index(grid, stride=stride), persistent=False)

    index: Tensor

    def forward(self) -> Float[Tensor, "1 heads n m"]:
        """Return the bias of every query to every key."""
        found = self.table.index_select(1, self.index.flatten())
        return found.unflatten(1, self.index.shape)[None]

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this grid's offsets; the offset 0 keeps its own."""
        if not isinstance(old, AbsoluteBias) or old.grid == self.grid:
            return ""
        table = old.table.unflatten(1, old.grid)[None]
        table = F.interpolate(table, self.grid, mode="bicubic", align_corners=True)
        self.table.copy_(table[0].flatten(1))
        sizes = ("x".join(map(str, grid)) for grid in (old.grid, self.grid))
        return f"attention biases resampled from {' to '.join(sizes)} offsets (bicubic)"
