"""Attention along the lines of a map, with learned codes of relative position (Axial-DeepLab)."""

from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.attention import Operator
from patchword.layers.grid import Grid
from patchword.layers.layout import Layout, Mixer, parted
from patchword.layers.offset import OffsetTable, relative_index


class RelativeCodes(OffsetTable):
    """A learned vector per offset of two places on a line."""

    def __init__(self, dim: int, span: int) -> None:
        super().__init__()
        self.reach = (span,)
        self.table = nn.Parameter(torch.empty(dim, 2 * span - 1))
        self.register_buffer("index", relative_index((span,)), persistent=False)

    index: Tensor

    def forward(self, span: int) -> Float[Tensor, "c span span"]:
        """Return the code of each place of a line (second axis) relative to each other."""
        if (span,) == self.reach:
            return self.table[:, self.index]
        return self.at((span,))[:, relative_index((span,)).to(self.index.device)]

    def at(self, reach: Grid) -> Float[Tensor, "c offsets"]:
        """Return the table for another span (linear; the authors' code has no rule)."""
        return F.interpolate(self.table[None], 2 * reach[0] - 1, mode="linear")[0]


class PositionSensitive(Operator):
    """softmax(q k' + q r_q' + k r_k') (v + r_v) along lines (equation 3).

    Each term of the scores has a batch norm of its own, in place of a scale. The two sums of the
    output are returned side by side, as each goes on to a batch norm of its own.

    Args:
        heads: of each line.
        dim: channels of a head's values; its queries and keys have half as many.
        span: cells of a line; the codes are resampled for lines of another length.
    """

    linear = False

    def __init__(self, heads: int, dim: int, span: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.codes = RelativeCodes(2 * dim, span)
        self.norm = nn.BatchNorm2d(3 * heads)

    def forward(
        self,
        q: Float[Tensor, "b m span c"],
        k: Float[Tensor, "b m span c"],
        v: Float[Tensor, "b m span e"],
    ) -> Float[Tensor, "b m span e 2"]:
        """Attend along m heads of lines; return the mixed values and the mixed codes."""
        mixed = self.weights(q, k, v)
        r_v = self.codes(q.shape[2])[self.dim :]
        return torch.stack([mixed @ v, torch.einsum("bmij,eij->bmie", mixed, r_v)], dim=-1)

    def weights(
        self,
        q: Float[Tensor, "b m span c"],
        k: Float[Tensor, "b m span c"],
        v: Float[Tensor, "b m span e"],
    ) -> Float[Tensor, "b m span span"]:
        """Return what values and codes are mixed by."""
        q, k = (t.unflatten(1, (-1, self.heads)).flatten(0, 1) for t in (q, k))
        r_q, r_k = self.codes(q.shape[2])[: self.dim].chunk(2)
        qr = torch.einsum("lhic,cij->lhij", q, r_q)
        kr = torch.einsum("lhjc,cji->lhij", k, r_k)
        terms = self.norm(torch.cat([q @ k.mT, qr, kr], dim=1))  # per head, over all lines
        scores = terms.unflatten(1, (3, -1)).sum(1)
        return scores.softmax(-1).unflatten(0, (len(v), -1)).flatten(1, 2)


class AxialAttention(Mixer):
    """Attention along the columns of a map, or along its rows (section 3.2).

    Args:
        span: cells of a line.
        across: attend along rows; else along columns.
    """

    def __init__(self, dim_in: int, dim: int, heads: int, span: int, *, across: bool) -> None:
        super().__init__()
        self.across, self.heads = across, heads
        self.qkv = nn.Conv2d(dim_in, 2 * dim, 1, bias=False)
        self.norm_qkv = nn.BatchNorm2d(2 * dim)
        self.attend = PositionSensitive(heads, dim // heads, span)
        self.norm = nn.BatchNorm2d(2 * dim)
        self.reset()

    def reset(self) -> None:
        """Start as the authors do."""
        nn.init.normal_(self.qkv.weight, std=self.qkv.in_channels**-0.5)
        nn.init.normal_(self.attend.codes.table, std=self.attend.dim**-0.5)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Mix the cells of each line."""
        y = self.norm_qkv(self.qkv(x))
        y = y.mT if self.across else y  # now lines are columns
        lines = y.unflatten(1, (self.heads, -1)).permute(0, 4, 1, 3, 2).flatten(1, 2)
        half = self.attend.dim // 2
        y = self.attend(*lines.split([half, half, 2 * half], -1))
        y = y.unflatten(1, (-1, self.heads)).permute(0, 2, 4, 5, 3, 1).flatten(1, 3)
        y = self.norm(y.mT if self.across else y)
        return y.unflatten(1, (-1, 2)).sum(2)

    def layout(self, x: Tensor) -> Layout:
        """Return where the cells of each line lie."""
        grid = (x.shape[2], x.shape[3])
        cells = torch.arange(prod(grid)).view(grid)
        return parted(cells if self.across else cells.T, grid)
