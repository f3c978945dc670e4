"""Plain transformers and others over tokens, as their authors compute them: see theirs.py.

Attention is timm's of 2021, over all tokens of every block.
"""

import torch
import torch.nn.functional as F


def attention(_, q, k, v, bias=None):
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias).softmax(-1) @ v


def all_tokens(block, x, grid, queries=None):
    return type(block).forward(block, x, grid)[:, :queries]


def pool(part, x):
    x = F.max_pool1d(x.transpose(1, 2), part.size, 2)
    return x.transpose(1, 2) + part.position.table


def reattention(part, q, k, v):
    maps = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1)
    return part.var_norm(part.reatten_matrix(maps)) * part.scale @ v


def gaussian(part, rows, columns, v):
    """Score all pairs of cells by the five numbers of their offset, and mix the map."""
    down, across = torch.arange(rows).to(v), torch.arange(columns).to(v)
    a = (down - down[:, None])[:, None, :, None].expand(-1, columns, -1, columns)
    b = (across - across[:, None])[None, :, None].expand(rows, -1, rows, -1)
    codes = torch.stack([a, b, a**2, b**2, a * b], -1)
    spreads = part.spreads
    if spreads.ndim == 1:
        spreads = spreads[:, None, None] * torch.eye(2).to(v)
    inverse = spreads @ spreads.transpose(1, 2)
    x, y = part.centers.unbind(1)
    p, q, r = inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]
    target = -torch.stack([-2 * (p * x + q * y), -2 * (r * y + q * x), p, r, 2 * q], 1) / 2
    scores = torch.einsum("ijkld,hd->ijhkl", codes, target)
    shares = scores.flatten(3).softmax(-1).view(scores.shape)
    mixed = torch.einsum("ijhkl,bkld->bhijd", shares, v[:, 0].unflatten(1, (rows, columns)))
    return mixed.flatten(2, 3)


def match(_, a, b, c):
    return (a @ b.transpose(1, 2)).softmax(-1) @ c


def tokenizer(part, pixels, tokens):
    """Project every pixel, then pool, as equation 1 is written."""
    filters = part.filters.expand(len(pixels), -1, -1) if tokens is None else part.recur(tokens)
    shares = (filters @ pixels.transpose(1, 2)).softmax(-1)
    return shares @ part.value(pixels)
