"""Windows on a grid, and learned biases by the offset between two cells."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid
from patchword.layers.position import Fitted


def to_windows(
    x: Float[Tensor, "b rows columns c"], window: tuple[int, int]
) -> Float[Tensor, "b windows cells c"]:
    """Cut a grid into windows, row by row, and each window into its cells, row by row.

    Args:
        x: whose sides the window's divide.
        window: rows, columns.
    """
    high, wide = window
    x = x.unflatten(2, (-1, wide)).unflatten(1, (-1, high))  # b rows high columns wide c
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(
    x: Float[Tensor, "b windows cells c"], window: tuple[int, int], grid: Grid
) -> Float[Tensor, "b rows columns c"]:
    """Undo `to_windows` on a grid of these sides."""
    high, wide = window
    x = x.unflatten(2, (high, wide)).unflatten(1, (grid[0] // high, grid[1] // wide))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def relative_index(window: tuple[int, int]) -> Int[Tensor, "cells cells"]:
    """Return the number of the offset between each query (first axis) and each key.

    Offsets of query less key, from -(side - 1) to side - 1, are numbered row by row.
    """
    rows, columns = window
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    down = row[:, None] - row + rows - 1
    across = column[:, None] - column + columns - 1
    return down * (2 * columns - 1) + across


class RelativeBias(Fitted):
    """A learned number per head and offset between cells of a window (Swin, equation 4)."""

    def __init__(self, window: tuple[int, int], heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.empty((2 * window[0] - 1) * (2 * window[1] - 1), heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", relative_index(window).flatten(), persistent=False)

    index: Tensor

    def forward(self) -> Float[Tensor, "heads cells cells"]:
        """Return the bias of every query to every key."""
        cells = self.window[0] * self.window[1]
        return self.table[self.index].T.unflatten(1, (cells, cells))

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this window's offsets (bicubic, as Swin's code)."""
        if not isinstance(old, RelativeBias) or old.window == self.window:
            return ""
        sides = tuple(2 * side - 1 for side in old.window)
        table = old.table.T.unflatten(1, sides)[None]
        new = tuple(2 * side - 1 for side in self.window)
        self.table.copy_(F.interpolate(table, new, mode="bicubic")[0].flatten(1).T)
        size = "x".join
        return (
            f"relative biases resampled from windows of {size(map(str, old.window))} to "
            f"{size(map(str, self.window))} cells (bicubic)"
        )


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


class OffsetBias(Fitted):
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
        if not isinstance(old, OffsetBias) or old.grid == self.grid:
            return ""
        table = old.table.unflatten(1, old.grid)[None]
        table = F.interpolate(table, self.grid, mode="bicubic", align_corners=True)
        self.table.copy_(table[0].flatten(1))
        sizes = ("x".join(map(str, grid)) for grid in (old.grid, self.grid))
        return f"attention biases resampled from {' to '.join(sizes)} offsets (bicubic)"
