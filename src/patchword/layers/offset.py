"""Numbers learned for the offset between two cells of a map or a window."""

from abc import abstractmethod
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid
from patchword.layers.position import Fitted, Standing


def cells(grid: Grid) -> Int[Tensor, "n axes"]:
    """Return the place of each cell along each axis, row by row."""
    return torch.stack(torch.meshgrid(*map(torch.arange, grid), indexing="ij"), -1).flatten(0, -2)


def offset_index(
    queries: Int[Tensor, "n axes"], keys: Int[Tensor, "m axes"], reach: Grid
) -> Int[Tensor, "n m"]:
    """Return the number of the offset of each query less each key.

    Args:
        queries: cells.
        keys: cells.
        reach: by how much two cells are less than apart along each axis; the offsets from
            -(reach - 1) to reach - 1 are numbered row by row.
    """
    index = torch.zeros(len(queries), len(keys), dtype=torch.long)
    for axis, side in enumerate(reach):
        apart = queries[:, None, axis] - keys[:, axis]
        index = index * (2 * side - 1) + apart + side - 1
    return index


def relative_index(grid: Grid) -> Int[Tensor, "cells cells"]:
    """Return the number of the offset between each query (first axis) and key of a whole grid."""
    return offset_index(cells(grid), cells(grid), grid)


class OffsetTable(Fitted):
    """Numbers for the offsets between two cells that are less than `reach` apart.

    Attributes:
        reach: along each axis; for the cells of a map or of a window, its sides.
        table: the numbers, laid out as each subclass has it.
    """

    reach: Grid
    table: Tensor

    @abstractmethod
    def at(self, reach: Grid) -> Tensor:
        """Return the table as it is read at another reach, in the same layout."""

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Read the other's table at this reach; what else it holds is taken over as it is."""
        if not isinstance(old, OffsetTable) or old.reach == self.reach:
            return ""
        for name, own in self.named_parameters():
            own.copy_(old.at(self.reach) if name == "table" else old.get_parameter(name))
        sizes = ("x".join(map(str, sides)) for sides in (old.reach, self.reach))
        return f"numbers by offset resampled from {' to '.join(sizes)} cells"


class OffsetBias(OffsetTable, Standing):
    """A learned bias of attention per offset and head (Swin, equation 4).

    Args:
        reach: along each axis.
        num_heads: of attention.
        index: the offset's number by query and key; of all cells of a grid whose sides are
            `reach` if None.
        mode: how the table is read at another reach.
    """

    def __init__(
        self,
        reach: Grid,
        num_heads: int,
        index: Int[Tensor, "n m"] | None = None,
        *,
        mode: Literal["bicubic", "bilinear"] = "bicubic",
    ) -> None:
        super().__init__()
        self.reach, self.mode = reach, mode
        self.table = nn.Parameter(torch.empty(prod(2 * side - 1 for side in reach), num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        index = relative_index(reach) if index is None else index
        self.register_buffer("index", index, persistent=False)

    index: Tensor

    def forward(self, reach: Grid | None = None) -> Float[Tensor, "heads n m"]:
        """Return the bias of every query to every key; of all cells of another grid if named."""
        if reach in (None, self.reach):
            return by_index(self.table, self.index)
        return by_index(self.at(reach), self.numbers(reach).to(self.index.device))

    def numbers(self, grid: Grid) -> Int[Tensor, "n n"]:
        """Return the rows of the table by query and key of a grid's cells."""
        return relative_index(grid)

    def at(self, reach: Grid) -> Float[Tensor, "offsets heads"]:
        """Return the table as it is read at another reach."""
        if reach == self.reach:
            return self.table
        old, new = (tuple(2 * side - 1 for side in sides) for sides in (self.reach, reach))
        table = self.table.T.unflatten(1, old)[None]
        return F.interpolate(table, new, mode=self.mode)[0].flatten(1).T


def by_index(
    table: Float[Tensor, "offsets heads"], index: Int[Tensor, "n m"]
) -> Float[Tensor, "heads n m"]:
    """Return the numbers of each head at an index's places."""
    return table.T.index_select(1, index.flatten()).unflatten(1, index.shape)
