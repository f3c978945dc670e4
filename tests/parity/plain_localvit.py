"""LocalViT as its formulas say (arXiv:2104.05707): one head, one cell at a time."""

import math

import torch
import torch.nn.functional as F


def part(w, start):
    return {name.removeprefix(start): t for name, t in w.items() if name.startswith(start)}


def linear(w, name, x):
    weight = w[f"{name}.weight"]
    return x @ weight.flatten(1).T + w.get(f"{name}.bias", 0)


def norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    x = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def batch_norm(w, name, x):
    x = (x - w[f"{name}.running_mean"]) / (w[f"{name}.running_var"] + 1e-5).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def relu6(x):
    return x.clamp(0, 6)


def hard_sigmoid(x):
    """Return torch's own, as its gradient takes 1/6 in single precision for doubles too."""
    torch.testing.assert_close(F.hardsigmoid(x), relu6(x + 3) / 6, rtol=1e-12, atol=1e-12)
    return F.hardsigmoid(x)


def hard_swish(x):
    return x * relu6(x + 3) / 6


def backbone(w, config, images):
    side = config.patch_size
    grid = (images.shape[2] // side, images.shape[3] // side)
    proj = "stem.patch_embed.proj"
    x = F.conv2d(images, w[f"{proj}.weight"], w[f"{proj}.bias"], side).flatten(2).mT
    table = positions(w["stem.position.table"], [s // side for s in config.image_size], grid)
    x = torch.cat([w["stem.prefix.class_token"].expand(len(x), 1, -1), x], dim=1) + table
    maps = {}
    for i in range(config.depth):
        block = part(w, f"blocks.{i}.")
        x = x + attention(part(block, "attn."), norm(block, "norm1", x), config.num_heads)
        cells = x[:, 1:] + local(part(block, "local.layers."), config, x[:, 1:], grid)
        x = torch.cat([x[:, :1], cells], dim=1)
        maps[f"blocks.{i}"] = cells.mT.unflatten(2, grid)
    x = norm(w, "norm", x)
    maps["final"] = x[:, 1:].mT.unflatten(2, grid)
    return x[:, 0], maps


def positions(table, old, new):
    cells = table[:, 1:].mT.unflatten(2, old)
    if tuple(old) != new:
        cells = F.interpolate(cells, new, mode="bicubic")
    return torch.cat([table[:, :1], cells.flatten(2).mT], dim=1)


def attention(w, x, heads):
    dim, size = x.shape[-1], x.shape[-1] // heads
    qkv, outputs = linear(w, "qkv", x), []
    for head in range(heads):
        q, k, v = (qkv[..., i * dim + head * size :][..., :size] for i in range(3))
        outputs.append((q @ k.mT / size**0.5).softmax(-1) @ v)
    return linear(w, "proj", torch.cat(outputs, dim=-1))


def local(w, config, x, grid):
    act = hard_swish if config.act == "hs" else relu6
    x = act(batch_norm(w, "1", linear(w, "0", x)))
    at = 3
    if config.depthwise:
        x, at = act(batch_norm(w, "4", around(w["3.weight"][:, 0], x, grid))), 6
    if config.excite:
        x, at = x * weighed(part(w, f"{at}."), config, x.mean(1))[:, None], at + 1
    return batch_norm(w, f"{at + 1}", linear(w, f"{at}", x))


def around(kernel, x, grid):
    """Sum over the eight neighbours of each cell and itself."""
    rows, columns = grid
    outputs = []
    for row in range(rows):
        for column in range(columns):
            total = torch.zeros_like(x[:, 0])
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    r, c = row + down, column + right
                    if 0 <= r < rows and 0 <= c < columns:
                        weight = kernel[:, down + 1, right + 1]
                        total = total + weight * x[:, r * columns + c]
            outputs.append(total)
    return torch.stack(outputs, dim=1)


def weighed(w, config, means):
    """Return a number per channel, from the channels' means."""
    if config.excite == "se":
        hidden = linear(w, "fc.0", means).clamp(0)
        return hard_sigmoid(linear(w, "fc.2", hidden))
    channels = means.shape[-1]
    size = int(abs((math.log2(channels) + 1) / 2))
    reach = size // 2 if size % 2 else (size + 1) // 2
    kernel, scores = w["conv.weight"][0, 0], []
    for channel in range(channels):
        total = torch.zeros_like(means[:, 0])
        for step in range(-reach, reach + 1):
            if 0 <= channel + step < channels:
                total = total + kernel[step + reach] * means[:, channel + step]
        scores.append(total)
    scores = torch.stack(scores, dim=1)
    return scores.sigmoid() if config.excite == "eca" else hard_sigmoid(scores)
