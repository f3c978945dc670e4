"""Windows on a grid, shifted ones too, and attention inside them."""

from collections.abc import Iterable
from math import prod
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from patchword.layers.attention import Attend, merge_heads
from patchword.layers.grid import Grid
from patchword.layers.layout import Layout, Mixer, parted
from patchword.layers.offset import OffsetBias


def to_windows(
    x: Shaped[Tensor, "b rows columns c"], window: tuple[int, int]
) -> Shaped[Tensor, "b windows cells c"]:
    """Cut a grid into windows, row by row, and each window into its cells, row by row.

    Args:
        x: whose sides the window's divide.
        window: rows, columns.
    """
    high, wide = window
    x = x.unflatten(2, (-1, wide)).unflatten(1, (-1, high))  # b rows high columns wide c
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


Tiling = Literal["timm", "torchvision", "authors"]
"""What becomes of grids that windows do not tile, where the code bases of Swin differ.

A grid that is smaller than the window: timm shrinks the window along that axis, the authors along
both, torchvision pads the grid. An axis with no more cells than the window is not shifted; the
authors (and transformers) then shift neither. Padding comes after the shift in timm, so its seams
lie beside the true ones, and before it in the others."""


class Order(NamedTuple):
    """A grid's tokens in the order of windows: the first place of each window, the second, ...

    Windows are then an inner axis, as heads are, and attention inside them is attention with
    (windows x heads) heads over the places of one: nothing is copied, and a bias that windows and
    heads have of their own broadcasts over the batch.
    """

    cells: Int[Tensor, " tokens"] | None = None  # which cell each token is; None: they are in order
    places: Int[Tensor, " cells"] | None = None  # which token each cell is
    empty: Bool[Tensor, "tokens 1"] | None = None  # tokens that are padding; None: none is
    seams: Float[Tensor, "windows places places"] | None = None  # -100 across the grid's edge

    def cleared(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return tokens with zeros for padding."""
        return x if self.empty is None else x.masked_fill(self.empty, 0)

    def layout(self, grid: Grid, places: int) -> Layout:
        """Return where tokens lie, window by window, of windows with so many places."""
        cells = torch.arange(prod(grid)) if self.cells is None else self.cells
        if self.empty is not None:
            cells = cells.masked_fill(self.empty[:, 0], -1)
        return parted(cells.unflatten(0, (places, -1)).T, grid)

    def folded(
        self, bias: Float[Tensor, "heads places places"], tokens: int
    ) -> Float[Tensor, "1 folded places places"]:
        """Return the bias of every window and head, seams in it, for so many tokens."""
        if self.seams is None:
            bias = bias.expand(tokens // bias.shape[-1], -1, -1, -1)
        else:
            bias = bias + self.seams[:, None].to(bias)
        return bias.flatten(0, 1)[None]


READING = Order()  # row by row


def reorder(x: Float[Tensor, "b n d"], old: Order, new: Order) -> Float[Tensor, "b m d"]:
    """Bring tokens from one order into another, in one copy; padding holds whatever was there."""
    if old.places is None:
        return x if new.cells is None else x.index_select(1, new.cells)
    return x.index_select(1, old.places if new.cells is None else old.places[new.cells])


def fold_heads(
    x: Float[Tensor, "b n d"], places: int, heads: int
) -> Float[Tensor, "b folded places c"]:
    """Split tokens in the order of windows by window and head; `merge_heads` undoes it."""
    x = x.unflatten(1, (places, -1)).unflatten(-1, (heads, -1))  # b places windows heads c
    return x.permute(0, 2, 3, 1, 4).flatten(1, 2)


class Windows(nn.Module):
    """Windows over grids, every other block's shifted by half a window (Swin, section 3.2).

    Args:
        grid: whose order is kept; that of any other is worked out when it is asked for.
        window: rows, columns.
        shifted: whether the grid is rolled by half a window first.
        tiling: the rules for grids that windows do not tile.
    """

    tiling: Tiling

    def __init__(
        self, grid: Grid, window: tuple[int, int], *, shifted: bool, tiling: Tiling = "timm"
    ) -> None:
        super().__init__()
        self.grid, self.window, self.shifted, self.tiling = grid, window, shifted, tiling
        for name, tensor in self._order(grid, torch.get_default_device())._asdict().items():
            self.register_buffer(name, tensor, persistent=False)

    cells: Tensor | None
    places: Tensor | None
    empty: Tensor | None
    seams: Tensor | None

    def forward(self, x: Tensor, grid: Grid) -> Order:
        """Return the order of a grid's tokens, on the device of x."""
        if grid == self.grid:
            return Order(self.cells, self.places, self.empty, self.seams)
        return self._order(grid, x.device)

    def shift(self, grid: Grid) -> tuple[int, int]:
        """Return by how many rows and columns a grid is rolled, up and to the left."""
        room = [cells > side for cells, side in zip(grid, self.window, strict=True)]
        if self.tiling == "authors":
            room = [all(room)] * 2
        rows, columns = (
            side // 2 * (free and self.shifted)
            for side, free in zip(self.window, room, strict=True)
        )
        return rows, columns

    def _order(self, grid: Grid, device: torch.device) -> Order:
        shift = self.shift(grid)
        if grid == self.window and not any(shift):
            return READING
        axes = [self._axis(*axis, device) for axis in zip(grid, self.window, shift, strict=True)]
        (row, down), (column, across) = axes  # each by place and window
        row, column = row[:, None, :, None], column[:, None]
        empty = ((row >= grid[0]) | (column >= grid[1])).flatten()
        count = grid[0] * grid[1]
        cells = (row * grid[1] + column).flatten().masked_fill(empty, count)
        tokens = torch.arange(len(cells), device=device)
        places = tokens.new_zeros(count + 1).scatter(0, cells, tokens)[:count]
        padded = any(cells % side for cells, side in zip(grid, self.window, strict=True))
        seams = None
        if any(shift):
            region = 3 * down[:, None, :, None] + across[:, None]
            region = region.flatten(2).flatten(0, 1).T  # windows, places
            seams = -100.0 * (region[:, :, None] != region[:, None])
        return Order(cells.masked_fill(empty, 0), places, empty[:, None] if padded else None, seams)

    def _axis(
        self, count: int, side: int, shift: int, device: torch.device
    ) -> tuple[Int[Tensor, "places windows"], Int[Tensor, "places windows"]]:
        """Return the row (or column) in each place, and which of three regions it belongs to."""
        padded = -(-count // side) * side
        place = torch.arange(padded, device=device)
        if self.tiling == "timm":
            cell = torch.where(place < count, (place + shift) % count, count)
        else:
            cell = (place + shift) % padded
        region = (place >= padded - side).long() + (place >= padded - shift).long()
        region = region if shift else torch.zeros_like(region)
        return cell.unflatten(0, (-1, side)).T, region.unflatten(0, (-1, side)).T


def through(
    blocks: Iterable[tuple[nn.Module, Windows | None]], x: Float[Tensor, "b n d"], grid: Grid
) -> Float[Tensor, "b n d"]:
    """Pass tokens through blocks, each of which is given them in the order of its windows.

    From one order into the next it is one copy, where others reverse, roll and partition.

    Args:
        blocks: with their windows; None where a block reads row by row.
        x: tokens, row by row, as they are returned.
        grid: the cells that they are.
    """
    order = READING
    for block, windows in blocks:
        old, order = order, READING if windows is None else windows(x, grid)
        x = block(reorder(x, old, order), grid)
    return reorder(x, order, READING)


class WindowAttention(Mixer):
    """Self-attention among the tokens of a window, with a bias by their offset (equation 4)."""

    def __init__(
        self, dim: int, num_heads: int, windows: Windows, *, bias: bool = True, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads, self.windows = num_heads, windows
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.bias = OffsetBias(windows.window, num_heads)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens, which come in the order of the windows (`Order`)."""
        order = self.windows(x, grid)
        x = order.cleared(x)
        bias = order.folded(self.bias(), x.shape[1])
        places = bias.shape[-1]
        q, k, v = (fold_heads(t, places, self.num_heads) for t in self.qkv(x).chunk(3, -1))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v, bias)).reshape(x.shape)))

    def layout(self, x: Tensor, grid: Grid) -> Layout:
        """Return where queries and keys lie: those of each window, padding among them."""
        return self.windows(x, grid).layout(grid, prod(self.windows.window))


def two_by_two(x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
    """Put four neighbours side by side, a zero beyond the edge: e = 4d channels, half the grid.

    They follow column by column, as Swin's patch merging has them.
    """
    rows, columns = grid
    x = x.unflatten(1, grid)
    if rows % 2 or columns % 2:
        x = F.pad(x, (0, 0, 0, columns % 2, 0, rows % 2))
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # b rows 2 columns 2 d
    x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
    return x.flatten(1, 2), (x.shape[1], x.shape[2])
