"""CeiT as its formulas say (arXiv:2103.11816): one image, one head, one cell at a time."""

import torch
import torch.nn.functional as F


def part(w, start):
    return {name.removeprefix(start): t for name, t in w.items() if name.startswith(start)}


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def norm(w, name, x, eps=1e-6):
    centred = x - x.mean(-1, keepdim=True)
    x = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def batch_norm(w, name, x):
    """Norm the last axis by the running statistics, if there is a norm."""
    if f"{name}.weight" not in w:
        return x
    x = (x - w[f"{name}.running_mean"]) / (w[f"{name}.running_var"] + 1e-5).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def backbone(w, config, images):
    side = 4 * config.patch_size
    grid = (images.shape[2] // side, images.shape[3] // side)
    x = F.conv2d(images, w["stem.conv.weight"], stride=2, padding=3).permute(0, 2, 3, 1)
    x = batch_norm(w, "stem.norm", x).permute(0, 3, 1, 2)
    x = F.max_pool2d(x, 3, 2, 1)
    proj = "stem.patch_embed.proj"
    x = F.conv2d(x, w[f"{proj}.weight"], w[f"{proj}.bias"], config.patch_size)
    table = positions(w["stem.position.table"], [s // side for s in config.image_size], grid)
    token = w["stem.class_token.token"].expand(len(x), 1, -1)
    x = torch.cat([token, x.flatten(2).mT], dim=1) + table
    maps, tokens = {}, []
    for i in range(config.depth):
        block = part(w, f"blocks.{i}.")
        x = x + attention(block, norm(block, "norm1", x), config.num_heads)
        x = x + local(block, norm(block, "norm2", x), grid)
        maps[f"blocks.{i}"] = x[:, 1:].mT.unflatten(2, grid)
        tokens.append(x[:, 0])
    maps["final"] = norm(w, "norm", x)[:, 1:].mT.unflatten(2, grid)
    block = part(w, "lca.block.")
    x = torch.stack(tokens, dim=1) + w["lca.position"]
    x = x + attention(block, norm(block, "norm1", x), config.num_heads)
    hidden = F.gelu(linear(block, "mlp.fc1", norm(block, "norm2", x)))
    x = x + linear(block, "mlp.fc2", hidden)
    return norm(w, "norm", x[:, -1]), maps


def positions(table, old, new):
    cells = table[:, 1:].mT.unflatten(2, old)
    if tuple(old) != new:
        cells = F.interpolate(cells, new, mode="bicubic")
    return torch.cat([table[:, :1], cells.flatten(2).mT], dim=1)


def attention(w, x, heads):
    dim, size = x.shape[-1], x.shape[-1] // heads
    qkv, outputs = linear(w, "attn.qkv", x), []
    for head in range(heads):
        q, k, v = (qkv[..., i * dim + head * size :][..., :size] for i in range(3))
        outputs.append((q @ k.mT / size**0.5).softmax(-1) @ v)
    return linear(w, "attn.proj", torch.cat(outputs, dim=-1))


def local(w, x, grid):
    """LeFF: what it makes of each cell from the cells around it; the class token stays."""
    w = part(w, "leff.")
    rows, columns = grid
    pointwise = {name: t.flatten(1) if t.ndim == 4 else t for name, t in w.items()}
    wide = F.gelu(batch_norm(w, "bn1", linear(pointwise, "conv1", x[:, 1:])))
    wide = wide.unflatten(1, grid)
    kernel = w["conv2.weight"][:, 0]
    reach = kernel.shape[-1] // 2
    cells = []
    for row in range(rows):
        for column in range(columns):
            total = w["conv2.bias"]
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    r, c = row + down, column + right
                    if 0 <= r < rows and 0 <= c < columns:
                        total = total + kernel[:, down + reach, right + reach] * wide[:, r, c]
            cells.append(total)
    x_local = F.gelu(batch_norm(w, "bn2", torch.stack(cells, dim=1)))
    narrow = batch_norm(w, "bn3", linear(pointwise, "conv3", x_local))
    return torch.cat([x[:, :1], narrow], dim=1)
