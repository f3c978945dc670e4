"""Pale Transformer as its formulas say (arXiv:2112.14000), cell by cell."""

import math

import torch
import torch.nn.functional as F


def part(w, start):
    return {name.removeprefix(start): t for name, t in w.items() if name.startswith(start)}


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def backbone(w, config, images):
    """Hold maps channels last: (b, rows, columns, d)."""
    maps, x = {}, images
    for stage, depth in enumerate(config.depth):
        at = f"stages.{stage}."
        stride, padding = (2, 1) if stage else (4, 3)
        x = F.conv2d(x, w[at + "embed.proj.weight"], w[at + "embed.proj.bias"], stride, padding)
        x = norm(w, at + "embed.norm", x.permute(0, 2, 3, 1))
        for i in range(depth):
            block = part(w, f"{at}blocks.{i}.")
            x = x + around(block["cpe.weight"][:, 0], x) + block["cpe.bias"]
            block = part(block, "block.")
            mixed = pale(part(block, "attn."), norm(block, "norm1", x), config, stage)
            x = x + linear(block, "attn.proj", mixed)
            hidden = F.gelu(linear(block, "mlp.fc1", norm(block, "norm2", x)))
            x = x + linear(block, "mlp.fc2", hidden)
        x = x.permute(0, 3, 1, 2)
        maps[f"stages.{stage}"] = x
    x = norm(w, "norm", x.permute(0, 2, 3, 1))
    maps["final"] = x.permute(0, 3, 1, 2)
    return x.mean((1, 2)), maps


def around(kernel, x):
    """Sum over the eight neighbours of each cell and itself."""
    rows, columns = x.shape[1:3]
    lines = []
    for row in range(rows):
        line = []
        for column in range(columns):
            total = torch.zeros_like(x[:, 0, 0])
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    r, c = row + down, column + right
                    if 0 <= r < rows and 0 <= c < columns:
                        total = total + kernel[:, down + 1, right + 1] * x[:, r, c]
            line.append(total)
        lines.append(torch.stack(line, dim=1))
    return torch.stack(lines, dim=1)


def separable(w, x):
    x = around(w["depthwise.linear.weight"][:, 0], x)
    x = (x - w["depthwise.bn.running_mean"]) / (w["depthwise.bn.running_var"] + 1e-5).sqrt()
    return linear(w, "pointwise", x * w["depthwise.bn.weight"] + w["depthwise.bn.bias"])


def pale(w, x, config, stage):
    """Every head of the rows, then every head of the columns, side by side."""
    q, k, v = (separable(part(w, f"{name}."), x) for name in "qkv")
    heads = config.num_heads[stage]
    size = x.shape[-1] // 2 // heads
    outputs = []
    for head in range(2 * heads):
        one = [t[..., head * size :][..., :size] for t in (q, k, v)]
        if head < heads:
            outputs.append(interlaced(*one, config.pale_size))
        else:
            turned = (t.transpose(1, 2) for t in one)
            outputs.append(interlaced(*turned, config.pale_size).transpose(1, 2))
    return torch.cat(outputs, dim=-1)


def interlaced(q, k, v, most):
    """Attend from every row to the rows of its group: every n-th one, where there are n groups."""
    rows, columns = q.shape[1:3]
    groups = math.ceil(rows / most)
    high = math.ceil(rows / groups)
    nothing = torch.zeros_like(q[:, 0])
    output = {}
    for group in range(groups):
        members = [group + step * groups for step in range(high)]
        keys = torch.cat([k[:, r] if r < rows else nothing for r in members], dim=1)
        values = torch.cat([v[:, r] if r < rows else nothing for r in members], dim=1)
        for row in members:
            if row >= rows:
                continue
            cells = []
            for column in range(columns):
                scores = (keys * q[:, row, column, None]).sum(-1) / q.shape[-1] ** 0.5
                cells.append((scores.softmax(-1)[..., None] * values).sum(1))
            output[row] = torch.stack(cells, dim=1)
    return torch.stack([output[row] for row in range(rows)], dim=1)
