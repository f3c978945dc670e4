"""Maps cut into chunks whose cells see the chunks around their own (ViL, section 3.1)."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from patchword.layers.grid import Grid

Reach = Literal["chunks", "cyclic", "window"]
"""What a cell sees: its chunk of the map and the eight around it; the same on a map whose edges
are joined, padding included; or just the cells that are up to a chunk's side away."""


def neighbourhoods(
    x: Float[Tensor, "b rows columns c"], side: int, *, cyclic: bool
) -> Float[Tensor, "b down across c high wide"]:
    """Return each chunk with the eight around it, three times its side, beyond the map zeros.

    Args:
        x: a map, padded below and to the right where chunks do not tile it.
        side: of a chunk, in cells.
        cyclic: join the padded map's edges.
    """
    below, right = -x.shape[1] % side, -x.shape[2] % side
    if cyclic:
        x = F.pad(x, (0, 0, 0, right, 0, below))
        x = torch.cat([x[:, -side:], x, x[:, :side]], dim=1)
        x = torch.cat([x[:, :, -side:], x, x[:, :, :side]], dim=2)
    else:
        x = F.pad(x, (0, 0, side, side + right, side, side + below))
    return x.unfold(1, 3 * side, side).unfold(2, 3 * side, side)


def hidden(grid: Grid, side: int, reach: Reach, like: Tensor) -> Float[Tensor, "chunks q keys"]:
    """Return minus infinity where a key of a chunk is none, 0 elsewhere; q is 1 but for "window".

    Args:
        grid: rows and columns of the map.
        side: of a chunk, in cells.
        reach: which keys are seen.
        like: a tensor of the type and on the device that are wanted.
    """
    seen: list[Bool[Tensor, "chunks q keys"]] = []
    for length in grid:
        place = torch.arange(-side, 2 * side, device=like.device)
        first = torch.arange(0, length, side, device=like.device)[:, None, None]
        keys = first + place
        if reach == "cyclic":
            seen.append((keys < length) | (keys >= first[-1] + side))
            continue
        there = (keys >= 0) & (keys < length)
        if reach == "window":
            there = there & ((place - place[side : 2 * side, None]).abs() <= side)
        seen.append(there)
    down, across = seen
    both = down[:, None, :, None, :, None] & across[:, None, :, None]
    both = both.flatten(4, 5).flatten(2, 3).flatten(0, 1)
    return like.new_zeros(both.shape).masked_fill(~both, -torch.inf)
