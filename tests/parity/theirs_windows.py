"""Pyramids that attend within windows, as their authors compute them: see theirs.py."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from patchword.layers import Windows, to_map
from patchword.models import dat
from tests.parity.theirs_tokens import attention


def parted(x, high, wide):
    """Cut a map (b rows columns c) into windows, a part of the batch: (b windows) cells c."""
    b, rows, columns, c = x.shape
    x = x.view(b, rows // high, high, columns // wide, wide, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, high * wide, c)


def joined(x, high, wide, grid):
    """Undo `parted`."""
    x = x.view(-1, grid[0] // high, grid[1] // wide, high, wide, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, *grid, x.shape[-1])


def in_heads(x, heads):
    return x.unflatten(2, (heads, -1)).permute(0, 2, 1, 3)


def cross_shaped(part, x, grid):
    parts = part.qkv(x).unflatten(2, (3, -1)).permute(2, 0, 1, 3).chunk(len(part.branches), 3)
    rows, columns = grid
    wide = part.stripe
    shapes = [grid] if wide is None else [(rows, wide), (wide, columns)]
    outputs = []
    for branch, qkv, (high, wide) in zip(part.branches, parts, shapes, strict=True):
        q, k, v = (parted(t.unflatten(1, grid), high, wide) for t in qkv)
        maps = v.transpose(1, 2).reshape(len(v), -1, high, wide)
        lepe = branch.lepe(maps).flatten(2).transpose(1, 2)
        heads = branch.num_heads
        mixed = attention(None, *(in_heads(t, heads) for t in (q, k, v)))
        mixed = mixed.transpose(1, 2).reshape(q.shape) + lepe
        outputs.append(joined(mixed, high, wide, grid).flatten(1, 2))
    return part.proj(torch.cat(outputs, 2))


def interlaced(part, q, k, v):
    """Attend group by group, each of every n-th row (no code of the authors is known)."""
    b, rows, columns, dim = q.shape
    groups = math.ceil(rows / part.size)
    q, k, v = (F.pad(t, (0, 0, 0, 0, 0, -rows % groups)) for t in (q, k, v))
    out = torch.empty_like(q)
    for i in range(groups):
        one = (in_heads(t[:, i::groups].flatten(1, 2), part.num_heads) for t in (q, k, v))
        out[:, i::groups] = attention(None, *one).transpose(1, 2).reshape(b, -1, columns, dim)
    return out[:, :rows]


def window_attention(part, x, grid):
    """Pad, roll, cut, attend, join, roll back: Swin's attention, as DAT has it."""
    side, heads = part.windows.window[0], part.num_heads
    shift, _ = part.windows.shift(grid)
    x = F.pad(x.unflatten(1, grid), (0, 0, 0, -grid[1] % side, 0, -grid[0] % side))
    padded = x.shape[1:3]
    x = parted(x.roll((-shift, -shift), (1, 2)), side, side)
    q, k, v = (in_heads(t, heads) for t in part.qkv(x).chunk(3, 2))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3) + part.bias()
    if shift:
        seams = Windows.forward(part.windows, x, grid).seams[:, None].to(x)
        scores = (scores.unflatten(0, (-1, len(seams))) + seams).flatten(0, 1)
    x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
    x = joined(part.proj(x), side, side, padded).roll((shift, shift), (1, 2))
    return x[:, : grid[0], : grid[1]].flatten(1, 2)


def deformable(part, x, grid):
    b, _, dim = x.shape
    heads, groups = part.num_heads, part.groups
    q = part.q(x)
    points = part.points(q, grid)
    at = points.flatten(0, 1)
    read = F.grid_sample(
        to_map(x, grid).reshape(b * groups, -1, *grid), at[..., (1, 0)].to(x), align_corners=True
    )
    k, v = part.kv(read.reshape(b, dim, -1).transpose(1, 2)).chunk(2, 2)
    q_, k, v = (in_heads(t, heads).flatten(0, 1) for t in (q, k, v))
    scores = torch.einsum("bmc,bnc->bmn", q_, k) * q_.shape[-1] ** -0.5
    if isinstance(part.position, dat.SampledBias):
        here = dat.centres(grid, at).flatten(0, 1)
        offset = (here[None, :, None] - at.flatten(1, 2)[:, None]) * 0.5
        table = part.position.at(grid).expand(b, -1, -1, -1)
        table = table.reshape(b * groups, heads // groups, *table.shape[2:])
        bias = F.grid_sample(table.to(offset), offset[..., (1, 0)], align_corners=True)
        scores = scores + bias.reshape(scores.shape).to(scores)
    mixed = torch.einsum("bmn,bnc->bmc", scores.softmax(2), v).unflatten(0, (b, heads))
    mixed = mixed.transpose(2, 3).reshape(b, dim, *grid)
    if isinstance(part.position, nn.Conv2d):
        mixed = mixed + part.position(to_map(q, grid))
    return part.proj(mixed).flatten(2).transpose(1, 2)


AROUND = [(down, across) for down in (1, 0, -1) for across in (1, 0, -1)]  # rolls, chunk by chunk


def longformer(part, x, grid):
    """Score each chunk against nine rolled maps of chunks, in which padding is masked.

    For positions that are absolute, and for the projections that global tokens share.
    """
    assert part.bias is None and part.shared and part.reach == "chunks"
    heads, count, side = part.num_heads, part.count, part.window
    (k, v), q = part.kv(x).chunk(2, 2), part.query(x) * (x.shape[2] // part.num_heads) ** -0.5
    down, across = (-length % side for length in grid)
    chunks = ((grid[0] + down) // side, (grid[1] + across) // side)

    def cut(t):
        t = F.pad(t.unflatten(1, grid), (0, 0, 0, across, 0, down))
        t = parted(t, side, side).unflatten(0, (len(x), *chunks))
        return t.unflatten(4, (heads, -1)).permute(0, 4, 5, 1, 2, 3).flatten(0, 1)  # bh c m n l

    maps = [cut(t[:, count:]) for t in (q, k, v)]
    k_far, v_far = (in_heads(t[:, :count], heads).flatten(0, 1) for t in (k, v))
    rolled = [[t.roll(by, (2, 3)) for by in AROUND] for t in maps[1:]]
    scores = [torch.einsum("bcmnl,bcmnt->bmnlt", maps[0], near) for near in rolled[0]]
    scores = torch.cat(scores, -1).masked_fill(beyond(grid, chunks, side), -torch.inf)
    far = torch.einsum("bcmnl,btc->bmnlt", maps[0], k_far)
    shares = torch.cat([far, scores], -1).softmax(-1)
    split = shares[..., count:].split(side**2, -1)
    mixed = torch.einsum("bmnlt,btc->bcmnl", shares[..., :count], v_far)
    for share, near in zip(split, rolled[1], strict=True):
        mixed = mixed + torch.einsum("bmnlt,bcmnt->bcmnl", share, near)
    mixed = mixed.unflatten(0, (len(x), heads)).permute(0, 3, 4, 5, 1, 2).flatten(4).flatten(0, 2)
    padded = (chunks[0] * side, chunks[1] * side)
    near = joined(mixed, side, side, padded)[:, : grid[0], : grid[1]].flatten(1, 2)
    if not count:
        return part.proj(near)
    q, k, v = (in_heads(t, heads) for t in (q[:, :count], k, v))
    every = ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2).flatten(2)
    return part.proj(torch.cat([every, near], 1))


def beyond(grid, chunks, side):
    """Return which of nine chunks' cells are none of the map's: (m n 1 keys)."""
    place = torch.arange(-side, 2 * side)
    axes = []
    for length, number in zip(grid, chunks, strict=True):
        cell = (torch.arange(number) * side)[:, None] + place
        axes.append(((cell < 0) | (cell >= length)).view(number, 3, side))
    off = axes[0][:, None, :, None, :, None] | axes[1][None, :, None, :, None]
    return off.flatten(2)[:, :, None]
