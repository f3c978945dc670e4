"""Attention from every cell of a large map to the cells of a smaller one made from it.

PVT's spatial-reduction attention (Wang et al. 2021, arXiv:2102.12122, section 3.3), which PVT v2,
SegFormer's encoder and LocalViT's PVT have too.
"""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ShapeError
from patchword.layers.attention import Attend, merge_heads, split_heads
from patchword.layers.grid import Grid
from patchword.layers.layout import Layout, Mixer, whole
from patchword.layers.window import to_windows


def tiled(
    x: Float[Tensor, "b rows columns c"], conv: nn.Conv2d
) -> tuple[Float[Tensor, "b n d"], Grid]:
    """Apply a convolution whose kernel is its stride, as a matrix product over tiles.

    torch's own takes as long, and on a CPU is wrong in bf16 for some maps no wider than a tile
    (2.15, channels last, up to 16 channels).

    Returns:
        a token per tile, row by row, and the grid of tiles; rows and columns that fill none are
        left out, as by the convolution.

    Raises:
        ShapeError: the map is smaller than a tile.
    """
    rows, columns = x.shape[1:3]
    high, wide = conv.stride
    grid = (rows // high, columns // wide)
    if 0 in grid:
        raise ShapeError(
            f"the images are too small: a map of {rows}x{columns} has no tile of {high}x{wide}"
        )
    tiles = to_windows(x[:, : grid[0] * high, : grid[1] * wide], (high, wide)).flatten(2)
    return F.linear(tiles, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias), grid


class Reduction(nn.Module, ABC):
    """Makes fewer tokens of a grid's."""

    @abstractmethod
    def grid(self, grid: Grid) -> Grid:
        """Return the grid that the tokens made of another are."""


class StridedReduction(Reduction):
    """Merge each tile of cells into one token by a linear map, and norm it (PVT, equation 2)."""

    def __init__(self, dim: int, ratio: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Conv2d(dim, dim, ratio, stride=ratio)
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b m d"]:
        """Return a token for each tile of `ratio` by `ratio` cells of the grid."""
        tokens, _ = tiled(x.unflatten(1, grid), self.conv)
        return self.norm(tokens)

    def grid(self, grid: Grid) -> Grid:
        """Return the tiles."""
        return tuple(side // self.ratio for side in grid)


class ReducedAttention(Mixer):
    """Multi-head attention whose keys and values are of fewer tokens than its queries.

    Args:
        dim: channels of a token.
        num_heads: of equal width.
        reduce: maps (tokens, grid) to fewer tokens; None attends to all of them.
        drop: dropout after the projection.
    """

    def __init__(
        self, dim: int, num_heads: int, reduce: Reduction | None = None, *, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.reduce = reduce
        self.kv = nn.Linear(dim, 2 * dim)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix tokens.

        Args:
            x: n tokens per image, the grid's alone where they are reduced.
            grid: the cells that the last tokens are.
            queries: answer for the first k tokens alone; for all n where it is None.
        """
        q = self.q(x[:, :queries])
        source = x if self.reduce is None else self.reduce(x, grid)
        k, v = self.kv(source).chunk(2, -1)
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v))))

    def layout(self, x: Tensor, grid: Grid, queries: int | None = None) -> Layout:
        """Return where queries and keys lie; merged cells lie on a grid of their own."""
        key_grid = None if self.reduce is None else self.reduce.grid(grid)
        return whole(x.shape[1], grid, queries, key_grid)
