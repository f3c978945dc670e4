"""Where a token is: vectors for the cells of a grid, at any resolution."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.grid import Grid, to_map, to_tokens

Resample = Literal["bicubic_antialias", "bicubic", "bicubic_offset", "bilinear", "linear"]
"""How a table is read at another grid. The code bases differ, and so do their results:
timm and big_vision's descendants smooth when shrinking; transformers and the DeiT scripts do
not; DINO asks for a tenth of a cell more and so steps a little shorter; PVT interpolates linearly
between centres of cells, the JAX ViT between aligned corners."""


def resample(
    table: Float[Tensor, "1 n d"], old: Grid, new: Grid, mode: Resample
) -> Float[Tensor, "1 m d"]:
    """Read a table of vectors for one grid's cells at another grid's."""
    if old == new:
        return table
    cells = to_map(table.to(torch.promote_types(table.dtype, torch.float32)), old)
    if new[1] == 1:  # torch 2.15 smooths a lone column wrongly on a CPU, a lone row rightly
        cells, new = cells.mT, (1, new[0])
    if mode == "linear":
        cells = F.interpolate(cells, new, mode="bilinear", align_corners=True)
    elif mode == "bilinear":
        cells = F.interpolate(cells, new, mode="bilinear")
    elif mode == "bicubic_offset":
        scale = [(n + 0.1) / o for n, o in zip(new, cells.shape[2:], strict=True)]
        cells = F.interpolate(cells, scale_factor=scale, mode="bicubic")
    else:
        cells = F.interpolate(cells, new, mode="bicubic", antialias=mode == "bicubic_antialias")
    return to_tokens(cells).to(table.dtype)


class Fitted(nn.Module, ABC):
    """A part whose parameters are made for one image size, such as a table of positions."""

    @abstractmethod
    def refit(self, old: "Fitted") -> str:
        """Take over the parameters of the same part at another image size.

        Returns:
            what was done to them, in words; "" if they fit as they are.
        """


class Standing(nn.Module):
    """What answers from its parameters and plain arguments alone: the same until they change."""


class Position(Fitted, Standing):
    """A vector per cell of a grid, and per prefix token where `prefix` is not 0."""

    prefix: int = 0  # how many prefix tokens the vectors start with

    @abstractmethod
    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return the vectors for a grid."""

    def refit(self, old: Fitted) -> str:
        """Do nothing, as where positions are computed there is nothing to take over."""
        return ""


class LearnedPosition(Position):
    """A learned vector per cell in reading order (ViT's 1-D positions) and per prefix token."""

    mode: Resample

    def __init__(self, grid: Grid, dim: int, *, prefix: int, mode: Resample) -> None:
        super().__init__()
        self.grid, self.prefix, self.mode = grid, prefix, mode
        self.table = nn.Parameter(torch.empty(1, prefix + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return the table, resampled where the grid is another (ViT, section 3.2)."""
        if grid == self.grid:
            return self.table
        cells = resample(self.table[:, self.prefix :], self.grid, grid, self.mode)
        return torch.cat([self.table[:, : self.prefix], cells], dim=1)

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this grid, without places of tokens that are gone."""
        same = isinstance(old, LearnedPosition) and old.grid == self.grid
        if not isinstance(old, LearnedPosition) or (same and old.prefix == self.prefix):
            return ""
        self.table.copy_(old(self.grid)[:, 0 if self.prefix else old.prefix :])
        size = "x".join
        return (
            f"positions resampled from {size(map(str, old.grid))} to {size(map(str, self.grid))} "
            f"({self.mode})"
        )


class RowColumnPosition(Position):
    """A learned vector per row beside one per column, half the channels each (ViT's 2-D)."""

    mode: Resample

    def __init__(self, grid: Grid, dim: int, *, mode: Resample) -> None:
        super().__init__()
        self.grid, self.mode = grid, mode
        self.rows = nn.Parameter(torch.empty(1, grid[0], dim // 2))
        self.columns = nn.Parameter(torch.empty(1, grid[1], dim - dim // 2))
        nn.init.trunc_normal_(self.rows, std=0.02)
        nn.init.trunc_normal_(self.columns, std=0.02)

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return both vectors of every cell, side by side."""
        high, wide = grid
        rows = resample(self.rows, (self.grid[0], 1), (high, 1), self.mode)
        columns = resample(self.columns, (1, self.grid[1]), (1, wide), self.mode)
        rows = rows[:, :, None].expand(-1, -1, wide, -1)
        columns = columns[:, None].expand(-1, high, -1, -1)
        return torch.cat([rows, columns], dim=-1).flatten(1, 2)

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's rows and columns to this grid."""
        if not isinstance(old, RowColumnPosition) or old.grid == self.grid:
            return ""
        self.rows.copy_(resample(old.rows, (old.grid[0], 1), (self.grid[0], 1), self.mode))
        self.columns.copy_(resample(old.columns, (1, old.grid[1]), (1, self.grid[1]), self.mode))
        return f"row and column positions resampled from {old.grid} to {self.grid} ({self.mode})"


class SinCosPosition(Position):
    """Sines and cosines of both coordinates, not learned (Beyer et al. 2022, arXiv:2205.01580)."""

    def __init__(self, dim: int, *, temperature: float = 10_000.0) -> None:
        super().__init__()
        self.dim, self.temperature = dim, temperature
        self.register_buffer("frequencies", self._frequencies(), persistent=False)

    frequencies: Tensor

    def _frequencies(self) -> Float[Tensor, " k"]:
        steps = torch.arange(self.dim // 4, dtype=torch.float64) / (self.dim // 4 - 1)
        return (self.temperature**-steps).float()

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return sin x, cos x, sin y, cos y of every cell, a quarter of the channels each."""
        device = self.frequencies.device
        y, x = torch.meshgrid(*(torch.arange(n, device=device) for n in grid), indexing="ij")
        x, y = (t.flatten()[:, None] * self.frequencies for t in (x, y))
        return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)[None]
