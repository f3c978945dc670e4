"""Biases by the offset between two cells of a whole grid, and about a class token (BEiT)."""

from itertools import accumulate
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid
from patchword.layers.position import Fitted
from patchword.layers.window import relative_index


class GridBias(Fitted):
    """A learned number per head and offset between cells, and three about the class token."""

    def __init__(self, grid: Grid, heads: int) -> None:
        super().__init__()
        self.grid = grid
        offsets = prod(2 * side - 1 for side in grid)
        self.table = nn.Parameter(torch.zeros(offsets + 3, heads))
        self.register_buffer("index", places(grid).flatten(), persistent=False)

    index: Tensor

    def forward(self, grid: Grid) -> Float[Tensor, "heads n n"]:
        """Return the bias of every query to every key, the class token first."""
        table, index = self.table, self.index
        if grid != self.grid:
            table, index = self.read(grid), places(grid).flatten().to(self.index.device)
        tokens = prod(grid) + 1
        return table.T.index_select(1, index).unflatten(1, (tokens, tokens))

    def read(self, grid: Grid) -> Float[Tensor, "offsets heads"]:
        """Return the table for another grid; the class token's three numbers stay."""
        offsets, token = self.table[:-3], self.table[-3:]
        offsets = offsets.unflatten(0, tuple(2 * side - 1 for side in self.grid))
        for axis, (old, new) in enumerate(zip(self.grid, grid, strict=True)):
            offsets = stretched(offsets, axis, old, new)
        return torch.cat([offsets.flatten(0, 1), token])

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Read the other's table at this grid."""
        if not isinstance(old, GridBias) or old.grid == self.grid:
            return ""
        self.table.copy_(old.read(self.grid))
        size = "x".join
        return (
            f"relative biases resampled from {size(map(str, old.grid))} to "
            f"{size(map(str, self.grid))} cells (near offsets kept, far ones spread)"
        )


def places(grid: Grid) -> Int[Tensor, "n n"]:
    """Return the row of a bias table for each query (first axis) and key, the class token first.

    A table holds the offsets between cells, then the class token's bias to every cell, every
    cell's to it, and its own to itself.
    """
    rows, columns = grid
    offsets, tokens = (2 * rows - 1) * (2 * columns - 1), rows * columns + 1
    table = torch.full((tokens, tokens), offsets)
    table[1:, 0], table[0, 0] = offsets + 1, offsets + 2
    table[1:, 1:] = relative_index((rows, columns))
    return table


def stretched(
    table: Float[Tensor, "... heads"], axis: int, old: int, new: int
) -> Float[Tensor, "... heads"]:
    """Read a table of 2 old - 1 offsets along an axis at 2 new - 1 of them.

    The old offsets are laid 1, q, q^2, ... cells apart on both sides of 0, with the ratio q at
    which they cover the new grid: what is near stays as near as it was.
    """
    if old == new:
        return table
    if old == 1:
        return table.repeat_interleave(2 * new - 1, axis)
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if sum(ratio**i for i in range(old - 1)) > new - 1:
            high = ratio
        else:
            low = ratio
    apart = list(accumulate(low**i for i in range(old - 1)))
    known = torch.tensor([*(-x for x in reversed(apart)), 0.0, *apart], device=table.device)
    wanted = torch.arange(1.0 - new, new, device=table.device)
    right = torch.searchsorted(known, wanted).clamp(1, 2 * old - 2)
    share = (wanted - known[right - 1]) / (known[right] - known[right - 1])
    share = share.clamp(0, 1).view(-1, *[1] * (table.ndim - 1 - axis)).to(table.dtype)
    return torch.lerp(table.index_select(axis, right - 1), table.index_select(axis, right), share)
