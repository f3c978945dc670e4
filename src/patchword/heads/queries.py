"""What queries of DETR and its kin are made of: places, attention between placed tokens, boxes.

Paper      Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020,
           arXiv:2005.12872, appendix A.4
Reference  github.com/facebookresearch/detr, models/transformer.py and position_encoding.py
Departures none
"""

from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.errors import ShapeError
from patchword.layers.attention import Attend, split_heads
from patchword.layers.sequence import SequenceAttention


class PlacedAttention(SequenceAttention):
    """Attention whose queries and keys know their places, and whose values do not."""

    def __init__(self, dim: int, num_heads: int, drop: float = 0.0) -> None:
        super().__init__(dim, num_heads)
        self.attend = Attend(drop)

    def read(
        self,
        q: Float[Tensor, "b n d"],
        k: Float[Tensor, "b m d"],
        v: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b 1 1 m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Attend from what asks to what is asked; a mask is True where there is something."""
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q, k, v = (
            split_heads(F.linear(x, weight, bias), self.num_heads)
            for x, weight, bias in zip((q, k, v), weights, biases, strict=True)
        )
        return self.mix(q, k, v, mask)


class PlacedSelf(PlacedAttention):
    """Tokens read each other."""

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        place: Float[Tensor, "#b n d"],
        mask: Bool[Tensor, "b 1 1 n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Mix tokens."""
        placed = x + place
        return self.read(placed, placed, x, mask)


class PlacedCross(PlacedAttention):
    """Queries read a memory."""

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        place: Float[Tensor, "#b n d"],
        keys: Float[Tensor, "b m d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "b 1 1 m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Mix memory, whose keys know their places, into queries."""
        return self.read(x + place, keys, memory, mask)


class Sine(nn.Module):
    """Sines and cosines of a cell's place in the image, row before column (appendix A.4).

    Args:
        dim: channels, half of them for each axis.
        shift: cells by which places are less than their count from 1.
    """

    def __init__(self, dim: int, shift: float = 0.0) -> None:
        super().__init__()
        self.dim, self.shift = dim // 2, shift

    def forward(
        self, like: Float[Tensor, "b _ h w"], inside: Bool[Tensor, "b h w"] | None
    ) -> Float[Tensor, "_ n d"]:
        """Return a vector per cell, for all images alike or for each; in the padding, of no use."""
        exact = torch.promote_types(like.dtype, torch.float32)
        if inside is None:
            inside = torch.ones_like(like[:1, 0], dtype=torch.bool)
        rows, columns = (inside.cumsum(axis, dtype=exact) for axis in (1, 2))
        rows = (rows - self.shift) / (rows[:, -1:] + 1e-6) * 2 * pi
        columns = (columns - self.shift) / (columns[:, :, -1:] + 1e-6) * 2 * pi
        return torch.cat([waves(rows, self.dim), waves(columns, self.dim)], -1).flatten(1, 2)


def waves(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "... d"]:
    """Return sine and cosine of an angle in turn, of wavelengths that rise to 10,000 times."""
    steps = torch.arange(0, dim, 2, dtype=x.dtype, device=x.device)
    angles = x[..., None] / 10_000 ** (steps / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class RowsAndColumns(nn.Module):
    """A learned vector per column before one per row, for 50 of each at most."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(torch.rand(50, dim // 2)) for _ in range(2))

    def forward(
        self, like: Float[Tensor, "b _ h w"], inside: Bool[Tensor, "b h w"] | None
    ) -> Float[Tensor, "1 n d"]:
        """Return a vector per cell.

        Raises:
            ShapeError: there are more rows or columns than vectors.
        """
        high, wide = like.shape[2:]
        if max(high, wide) > len(self.rows):
            raise ShapeError(
                f"the map has {high} x {wide} cells, and learned positions are for "
                f"{len(self.rows)} at most: resize the images, or take sines (position)"
            )
        columns = self.columns[:wide].expand(high, -1, -1)
        rows = self.rows[:high, None].expand(-1, wide, -1)
        return torch.cat([columns, rows], dim=-1).flatten(0, 1)[None]


def mlp(dim: int, hidden: int, drop: float) -> nn.Sequential:
    """Return two linear layers with ReLU between."""
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(drop), nn.Linear(hidden, dim)
    )


class BoxLayers(nn.ModuleList):
    """The linear layers by which a query's box is read, before the sigmoid."""

    def __init__(self, dim: int, depth: int = 3) -> None:
        super().__init__(nn.Linear(dim, 4 if i == depth - 1 else dim) for i in range(depth))

    def forward(self, x: Float[Tensor, "b q d"]) -> Float[Tensor, "b q 4"]:
        """Read boxes."""
        *hidden, last = self.children()
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)
