"""Biases by the offset between two cells, beside tokens that lie nowhere on the grid."""

from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid
from patchword.layers.position import Fitted


def cells(rows: int, columns: int | None = None) -> Int[Tensor, "n 2"]:
    """Return row and column of each cell of a map; of a square one where columns is None."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns or rows))


def offsets(
    queries: Int[Tensor, "n 2"], keys: Int[Tensor, "m 2"], reach: Grid
) -> Int[Tensor, "n m"]:
    """Return the number of each offset of query less key; those less than `reach` are numbered."""
    rows, columns = reach
    down, across = (queries[:, None] - keys).unbind(-1)
    return (down + rows - 1) * (2 * columns - 1) + across + columns - 1


class OffsetBias(Fitted):
    """Biases by head: of offsets between cells, and of global tokens and others (ViL, section 3.3).

    Args:
        reach: rows and columns by which two cells are less than apart.
        num_heads: of attention.
        count: global tokens.
    """

    def __init__(self, reach: Grid, num_heads: int, count: int) -> None:
        super().__init__()
        self.reach = reach
        self.table = nn.Parameter(torch.empty(prod(2 * side - 1 for side in reach), num_heads))
        if count:
            self.between = nn.Parameter(torch.empty(2, num_heads, count))  # from globals, to them
            self.among = nn.Parameter(torch.empty(num_heads, count, count))
        for parameter in self.parameters():
            nn.init.trunc_normal_(parameter, std=0.02)

    def of_cells(
        self, queries: Int[Tensor, "n 2"], keys: Int[Tensor, "m 2"], reach: Grid
    ) -> Float[Tensor, "heads n k"]:
        """Return the bias of some cells' queries to global tokens, and to other cells."""
        index = offsets(queries, keys, reach)
        bias = self.at(reach)[index.flatten().to(self.table.device)].T.unflatten(1, index.shape)
        if "between" not in self._parameters:
            return bias
        return torch.cat([self.between[1, :, None].expand(-1, len(queries), -1), bias], dim=2)

    def of_globals(self, count: int) -> Float[Tensor, "heads g k"]:
        """Return the bias of global tokens' queries to each other, and to n cells."""
        return torch.cat([self.among, self.between[0, ..., None].expand(-1, -1, count)], dim=2)

    def at(self, reach: Grid) -> Float[Tensor, "offsets heads"]:
        """Return the table, resampled for another reach (bilinear)."""
        if reach == self.reach:
            return self.table
        old, new = (tuple(2 * side - 1 for side in sides) for sides in (self.reach, reach))
        table = self.table.T.unflatten(1, old)[None]
        return F.interpolate(table, new, mode="bilinear")[0].flatten(1).T

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this one's reach."""
        if not isinstance(old, OffsetBias) or old.reach == self.reach:
            return ""
        for name, parameter in self.named_parameters():
            parameter.copy_(old.at(self.reach) if name == "table" else old.get_parameter(name))
        size = "x".join
        return (
            f"biases by offset resampled from {size(map(str, old.reach))} to "
            f"{size(map(str, self.reach))} cells (bilinear)"
        )
