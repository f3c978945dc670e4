"""HVT as its formulas say it, token by token, in the authors' names; slow, and of nothing of ours.

The network is a function of a dictionary of tensors, so that gradients are asked for by name.
"""

import math

import torch


def logits(weights, image, *, patch_size, depth, num_heads, pool_every, pool_size):
    """Score one image (c h w)."""
    tokens = embedded(weights, image, patch_size)
    for i in range(depth):
        part = {k.removeprefix(f"blocks.{i}."): v for k, v in weights.items()}
        tokens = [t + a for t, a in zip(tokens, attention(part, tokens, num_heads), strict=True)]
        tokens = [t + mlp(part, t) for t in tokens]
        if pool_every and i % pool_every == 0:
            starts = range(0, len(tokens) - pool_size + 1, 2)
            tokens = [largest(tokens[start : start + pool_size]) for start in starts]
            tokens = [t + part["pos_embed"][0, j] for j, t in enumerate(tokens)]
    mean = sum(normed(t, weights, "norm") for t in tokens) / len(tokens)
    return weights["head.weight"] @ mean + weights["head.bias"]


def embedded(weights, image, side):
    kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    tokens = []
    for row in range(0, image.shape[1], side):
        for column in range(0, image.shape[2], side):
            patch = image[:, row : row + side, column : column + side]
            position = weights["pos_embed"][0, len(tokens)]
            tokens.append((kernel * patch).sum((1, 2, 3)) + bias + position)
    return tokens


def attention(part, tokens, num_heads):
    tokens = [normed(t, part, "norm1") for t in tokens]
    weight = part["attn.qkv.weight"]
    bias = part.get("attn.qkv.bias", torch.zeros(len(weight), dtype=weight.dtype))
    triples = [(weight @ t + bias).chunk(3) for t in tokens]
    width = len(tokens[0]) // num_heads
    mixed = []
    for query, _, _ in triples:
        heads = []
        for head in range(num_heads):
            own = slice(head * width, (head + 1) * width)
            scores = torch.stack(
                [query[own] @ key[own] / math.sqrt(width) for _, key, _ in triples]
            )
            shares = scores.exp() / scores.exp().sum()
            values = (value[own] for _, _, value in triples)
            heads.append(sum(share * v for share, v in zip(shares, values, strict=True)))
        mixed.append(part["attn.proj.weight"] @ torch.cat(heads) + part["attn.proj.bias"])
    return mixed


def mlp(part, token):
    hidden = part["mlp.fc1.weight"] @ normed(token, part, "norm2") + part["mlp.fc1.bias"]
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return part["mlp.fc2.weight"] @ hidden + part["mlp.fc2.bias"]


def normed(token, part, name):
    centred = token - token.mean()
    spread = (centred.square().mean() + 1e-6).sqrt()
    return centred / spread * part[f"{name}.weight"] + part[f"{name}.bias"]


def largest(tokens):
    channels = zip(*tokens, strict=True)
    return torch.stack([max(channel, key=lambda number: number.item()) for channel in channels])
