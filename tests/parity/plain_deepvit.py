"""DeepViT from the formulas of its paper and of its authors' code, one number after the other.

It shares no code with ours: weights are a dictionary under the authors' names, images come one by
one, heads and places in loops.
"""

import math

import torch


def deepvit(config, weights, images, *, learning=False):
    """Return the normed class token of each image; while learning, norms use the batch's own."""
    tokens = stem(config, weights, images, learning)
    for i in range(config.depth):
        w = {name.removeprefix(f"blocks.{i}."): t for name, t in weights.items()}
        a = config.shrink
        read = [norm(x * a, w["norm1.weight"], w["norm1.bias"]) for x in tokens]
        mixed = attention(config, w, read, learning, again=i >= config.plain_depth)
        tokens = [x + y / a for x, y in zip(tokens, mixed, strict=True)]
        read = [norm(x * a, w["norm2.weight"], w["norm2.bias"]) for x in tokens]
        tokens = [x + mlp(w, y) / a for x, y in zip(tokens, read, strict=True)]
    return torch.stack([norm(x, weights["norm.weight"], weights["norm.bias"])[0] for x in tokens])


def norm(x, weight, bias):
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * weight + bias


def mlp(w, x):
    hidden = x @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"]
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return hidden @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]


def attention(config, w, batch, learning, *, again):
    heads, dim = config.num_heads, config.embed_dim
    size = dim // heads
    values, maps = [], []
    for x in batch:
        projected = x @ w["attn.qkv.weight"].T + w["attn.qkv.bias"]
        q, k, v = (projected[:, part * dim : (part + 1) * dim] for part in range(3))
        cuts = [slice(head * size, (head + 1) * size) for head in range(heads)]
        values.append([v[:, cut] for cut in cuts])
        scores = [q[:, cut] @ k[:, cut].T / math.sqrt(size) for cut in cuts]
        maps.append([s.exp() / s.exp().sum(dim=1, keepdim=True) for s in scores])
    if again:
        maps = reattention(config, w, maps, learning)
    joined = [
        torch.cat([m @ v for m, v in zip(*pair, strict=True)], dim=1)
        for pair in zip(maps, values, strict=True)
    ]
    return [x @ w["attn.proj.weight"].T + w["attn.proj.bias"] for x in joined]


def reattention(config, w, maps, learning):
    """Mix the maps of all heads, then normalise each new head's."""
    heads, theta = config.num_heads, w["attn.reatten_matrix.weight"][:, :, 0, 0]
    bias = w["attn.reatten_matrix.bias"]
    mixed = [
        [sum(theta[h, g] * own[g] for g in range(heads)) + bias[h] for h in range(heads)]
        for own in maps
    ]
    scale = 1 / math.sqrt(config.embed_dim // heads) if config.scaled else 1.0
    found = [list(own) for own in mixed]
    for h in range(heads):
        together = torch.stack([own[h] for own in mixed])
        for own, new in zip(mixed, found, strict=True):
            new[h] = scale * channel_norm(w, "attn.var_norm", h, own[h], together, learning)
    return found


def channel_norm(w, name, channel, x, together, learning):
    """Normalise one channel by the statistics of all images, or by those that were learned."""
    if learning:
        mean, variance = together.mean(), ((together - together.mean()) ** 2).mean()
    else:
        mean, variance = w[f"{name}.running_mean"][channel], w[f"{name}.running_var"][channel]
    scaled = (x - mean) / (variance + 1e-5).sqrt()
    return scaled * w[f"{name}.weight"][channel] + w[f"{name}.bias"][channel]


def stem(config, w, images, learning):
    maps = list(images)
    side = config.patch_size
    if config.patches == "convolved":
        for i, (stride, pad) in enumerate(((2, 3), (1, 1)), start=1):
            kernel = w[f"patch_embed.conv{i}.weight"]
            maps = [convolved(x, kernel, stride, pad) for x in maps]
            together = torch.stack(maps)
            name, channels = f"patch_embed.bn{i}", range(len(kernel))
            maps = [
                torch.stack(
                    [channel_norm(w, name, c, x[c], together[:, c], learning) for c in channels]
                ).clamp(min=0)
                for x in maps
            ]
        side //= 2
    found = []
    for x in maps:
        cells = convolved(x, w["patch_embed.proj.weight"], side, 0).flatten(1).T
        cells = cells + w["patch_embed.proj.bias"]
        found.append(torch.cat([w["cls_token"][0], cells]) + w["pos_embed"][0])
    return found


def convolved(x, kernel, stride, pad):
    """Slide a kernel over a map, place by place."""
    side = kernel.shape[-1]
    _, rows, columns = x.shape
    padded = x.new_zeros(len(x), rows + 2 * pad, columns + 2 * pad)
    padded[:, pad : pad + rows, pad : pad + columns] = x
    down, across = (range(0, extent + 2 * pad - side + 1, stride) for extent in (rows, columns))

    def value(r, c):
        return (kernel * padded[:, r : r + side, c : c + side]).sum((1, 2, 3))

    lines = [torch.stack([value(r, c) for c in across], dim=1) for r in down]
    return torch.stack(lines, dim=1)
