"""Attention inside windows that may be shifted (Swin, Liu et al. 2021, arXiv:2103.14030)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.attention import Attend
from patchword.layers.grid import Grid
from patchword.layers.window import RelativeBias, from_windows, to_windows


class WindowAttention(nn.Module):
    """Mix the tokens of each window, with a bias by offset; a map that they do not tile is padded.

    Args:
        dim: channels of a token.
        num_heads: of attention.
        window: cells along its sides.
        shift: cells by which the windows lie further down and to the right.
        drop: dropout after the projection.
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, *, shift: int = 0, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.shift = num_heads, (window, window), shift
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias = RelativeBias(self.window, num_heads)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Pad with zeros below and to the right, then shift; padding is attended to."""
        (rows, columns), (high, wide), heads = grid, self.window, self.num_heads
        x = F.pad(x.unflatten(1, grid), (0, 0, 0, -columns % wide, 0, -rows % high))
        padded = (x.shape[1], x.shape[2])
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        qkv = self.qkv(to_windows(x, self.window)).unflatten(-1, (3, heads, -1))
        qkv = qkv.permute(3, 0, 1, 4, 2, 5)  # (q k v) b windows heads cells c
        windows, bias = qkv.shape[2], self.bias()
        if self.shift:
            bias = (bias + shift_mask(padded, self.window, self.shift, bias)).flatten(0, 1)
        else:
            bias = bias.repeat(windows, 1, 1)
        x = self.attend(*qkv.flatten(2, 3).unbind(), bias[None].to(qkv.dtype))
        x = x.unflatten(1, (windows, heads)).transpose(2, 3).flatten(3)
        x = from_windows(self.proj(x), self.window, padded)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return self.drop(x[:, :rows, :columns].flatten(1, 2))


def shift_mask(
    grid: Grid, window: tuple[int, int], shift: int, like: Tensor
) -> Float[Tensor, "windows 1 cells cells"]:
    """Return -100 between cells of a window that the shift brought together, 0 elsewhere.

    Args:
        grid: its sides are multiples of the window's.
        window: rows, columns.
        shift: cells by which the map was rolled up and to the left.
        like: a tensor of the type and on the device that are wanted.
    """
    down, across = (
        (cell >= side - step).long() + (cell >= side - shift)
        for side, step in zip(grid, window, strict=True)
        for cell in [torch.arange(side, device=like.device)]
    )
    region = (3 * down[:, None] + across).to(like.dtype)
    region = to_windows(region[None, ..., None], window)[0]  # windows cells 1
    return (-100.0 * (region != region.mT).to(like.dtype))[:, None]
