"""Operators that mix each cell's neighbourhood: the k x k window around it."""

from abc import abstractmethod
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.layers.attention import Operator
from patchword.layers.layout import Layout, Mixer, whole

Border = Literal["reflect", "zero"]
"""What lies beyond the map: its mirror image, or nothing."""


class LocalOperator(Operator, Mixer):
    """Mixes the values of each cell's window by the shares that a paper gives them.

    The sum runs over shifted views, so nothing of the size of all windows is ever stored.

    Args:
        kernel_size: cells along a side of the window, an odd number.
        border: what the windows see beyond the map.
        stride: cells from one window to the next.
    """

    border: Border

    def __init__(self, kernel_size: int, border: Border, stride: int = 1) -> None:
        super().__init__()
        self.kernel_size, self.border, self.stride = kernel_size, border, stride

    def around(self, x: Float[Tensor, "b ... rows columns"]) -> list[Tensor]:
        """Return a map as seen from each place in the window, row by row, border and all."""
        side, step, (rows, columns) = self.kernel_size, self.stride, x.shape[-2:]
        half = [side // 2] * 4
        x = F.pad(x, half, mode="reflect") if self.border == "reflect" else F.pad(x, half)
        return [
            x[..., i : i + rows : step, j : j + columns : step]
            for i in range(side)
            for j in range(side)
        ]

    @abstractmethod
    def shares(
        self, q: Float[Tensor, "b c rows columns"], k: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b heads window rows columns"]:
        """Return the weight of each place in each cell's window."""

    def forward(
        self,
        q: Float[Tensor, "b c rows columns"],
        k: Float[Tensor, "b c h w"],
        v: Float[Tensor, "b heads m e"],
    ) -> Float[Tensor, "b heads n e"]:
        """Mix values; queries and keys are maps, of n and m cells."""
        heads = v.shape[1]
        values = self.around(v.transpose(2, 3).flatten(1, 2).unflatten(2, k.shape[2:]))
        pairs = zip(self.shares(q, k).unbind(2), values, strict=True)
        terms = ((share[:, :, None], value.unflatten(1, (heads, -1))) for share, value in pairs)
        share, value = next(terms)
        mixed = share * value
        for share, value in terms:
            mixed = torch.addcmul(mixed, share, value)
        return mixed.flatten(3).transpose(2, 3)

    def weights(
        self,
        q: Float[Tensor, "b c rows columns"],
        k: Float[Tensor, "b c h w"],
        v: Float[Tensor, "b heads m e"],
    ) -> Float[Tensor, "b heads n m"]:
        """Lay the shares out over the whole map; what falls beyond a border of zeros is lost."""
        shares = self.shares(q, k).flatten(3).transpose(2, 3)
        cells = 1.0 + torch.arange(v.shape[2], device=q.device).view(1, 1, *k.shape[2:])
        index = torch.stack(self.around(cells), dim=-1).flatten(2, 3).long().expand_as(shares)
        laid = shares.new_zeros(*shares.shape[:3], v.shape[2] + 1)
        return laid.scatter_add(3, index, shares)[..., 1:]

    def layout(self, q: Tensor, k: Tensor, v: Tensor) -> Layout:
        """Return where queries and keys lie: the cells of both maps."""
        grid = tuple(q.shape[2:])
        return whole(prod(grid), grid, key_grid=tuple(k.shape[2:]))
