"""Where on the image the queries and keys of attention lie, so that its weights can be drawn."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers.grid import Grid


class Layout(NamedTuple):
    """Which token each query and each key of an operator is.

    Tokens are numbered as the network has them: prefix tokens, then the cells of a grid row by
    row; -1 is padding. Windows, stripes and the like are parts, each of which attends to itself.
    """

    queries: Int[Tensor, "parts n"]
    keys: Int[Tensor, "parts m"]
    grid: Grid  # whose cells the queries are; it covers the image, whatever its stride
    key_grid: Grid  # whose cells the keys are; coarser where keys are merged cells
    prefix: int  # tokens before the cells of either grid
    in_batch: bool = False  # parts are folded into the batch axis; else into that of heads
    share: float = 1.0  # of the channels; other heads of the layer attend by another operator
    read: Float[Tensor, "b heads k m"] | None = None  # k keys read between m cells: their shares


class Mixer(nn.Module):
    """What mixes tokens by an operator, `attend`, which may be itself, and knows their places.

    Attributes:
        layout: takes the inputs of `forward` and returns the operator's layout for them.
    """

    layout: Callable[..., Layout]


class TokenMixer(Mixer):
    """One whose operator attends from all tokens, or from the first ones, to all."""

    def layout(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None, *_: object
    ) -> Layout:
        """Return where queries and keys lie.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: how many of the tokens ask; all if None.
            _: what else `forward` takes.
        """
        return whole(x.shape[1], grid, queries)


def whole(
    tokens: int, grid: Grid, queries: int | None = None, key_grid: Grid | None = None
) -> Layout:
    """Return the layout of attention from all tokens, or the first ones, to all.

    Args:
        tokens: of an image, any prefix tokens first.
        grid: the cells that the last of them are.
        queries: how many of them ask; all if None.
        key_grid: the cells that keys are, where these are fewer.
    """
    prefix, key_grid = tokens - prod(grid), key_grid or grid
    asked, keys = torch.arange(tokens)[None, :queries], torch.arange(prefix + prod(key_grid))[None]
    return Layout(asked, keys, grid, key_grid, prefix)


def parted(cells: Int[Tensor, "parts n"], grid: Grid) -> Layout:
    """Return the layout of attention within parts of a grid, such as windows: -1 is padding."""
    return Layout(cells, cells, grid, grid, 0)
