"""DAT in loops over windows, queries and points, under its authors' names."""

import math

import torch
import torch.nn.functional as F


def classify(w, images, config):
    """Return the logits of a network with weights `w`."""
    c = config
    x = cut(w, "patch_proj.0", "patch_proj.1", images, c.patch_size, c.overlap)
    if "stages.0.proj.weight" in w:
        x = F.conv2d(x, w["stages.0.proj.weight"], w["stages.0.proj.bias"])
    for i, depth in enumerate(c.depth):
        if i:
            x = cut(w, f"down_projs.{i - 1}.0", f"down_projs.{i - 1}.1", x, 2, c.overlap)
        for j in range(depth):
            kind = c.mixers[i][j % len(c.mixers[i])]
            at, norm = f"stages.{i}.attns.{j}", f"stages.{i}.layer_norms"
            y = layer_norm(w, f"{norm}.{2 * j}", x)
            if kind == "D":
                x = x + deformable(w, at, y, c, i)
            else:
                side = c.window_size[i]
                shift = math.ceil(side / 2) if kind == "S" else 0
                x = x + windows(w, at, y, c.num_heads[i], side, shift)
            y = layer_norm(w, f"{norm}.{2 * j + 1}", x).movedim(1, -1)
            mlp = f"stages.{i}.mlps.{j}.chunk"
            x = x + linear(w, f"{mlp}.linear2", F.gelu(linear(w, f"{mlp}.linear1", y))).movedim(
                -1, 1
            )
    x = layer_norm(w, "cls_norm", x).mean((2, 3))
    return linear(w, "cls_head", x)


def linear(w, name, x):
    return x @ w[f"{name}.weight"].flatten(1).T + w[f"{name}.bias"]


def layer_norm(w, name, x):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    scale, shift = (w[f"{name}.norm.{part}"][:, None, None] for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def cut(w, conv, norm, x, stride, overlap):
    padding = stride - 1 if overlap else 0
    weight, bias = w[f"{conv}.weight"], w.get(f"{conv}.bias")
    return layer_norm(w, norm, F.conv2d(x, weight, bias, stride, padding))


def windows(w, name, x, heads, side, shift):
    """Attend within windows of a padded, shifted map; -100 between what was not neighbours."""
    rows, columns = x.shape[2:]
    x = F.pad(x, (0, -columns % side, 0, -rows % side))
    high, wide = x.shape[2:]
    x = torch.roll(x, (-shift, -shift), (2, 3)).movedim(1, -1)
    q, k, v = linear(w, f"{name}.proj_qkv", x).chunk(3, -1)
    out = torch.zeros_like(q)
    table, dim = w[f"{name}.relative_position_bias_table"], q.shape[-1] // heads
    for top in range(0, high, side):
        for left in range(0, wide, side):
            cells = [(top + r, left + c) for r in range(side) for c in range(side)]
            for head in range(heads):
                part = slice(head * dim, (head + 1) * dim)
                for r, c in cells:
                    scores = []
                    for s, t in cells:
                        row = (r - s + side - 1) * (2 * side - 1) + c - t + side - 1
                        far = band(r, high, side, shift) != band(s, high, side, shift)
                        far |= band(c, wide, side, shift) != band(t, wide, side, shift)
                        dot = (q[:, r, c, part] * k[:, s, t, part]).sum(-1) / dim**0.5
                        scores.append(dot + table[row, head] - (100 if shift and far else 0))
                    weights = torch.stack(scores, -1).softmax(-1)
                    values = torch.stack([v[:, s, t, part] for s, t in cells], 1)
                    out[:, r, c, part] = (weights[:, :, None] * values).sum(1)
    out = linear(w, f"{name}.proj_out", out).movedim(-1, 1)
    return torch.roll(out, (shift, shift), (2, 3))[:, :, :rows, :columns]


def band(cell, length, side, shift):
    """Say which of three parts of a shifted axis a cell is in."""
    return 0 if cell < length - side else 1 if cell < length - shift else 2


def deformable(w, name, x, c, i):
    """Attend to points, a group of heads at a time (equations 2 to 8)."""
    b, dim, rows, columns = x.shape
    heads, groups = c.num_heads[i], c.num_groups[i]
    per_head, per_group = dim // heads, dim // groups
    q = linear(w, f"{name}.proj_q", x.movedim(1, -1)).movedim(-1, 1)
    table = w.get(f"{name}.rpe_table")
    if table is not None:
        sides = (2 * rows - 1, 2 * columns - 1)
        table = F.interpolate(table[None], sides, mode="bicubic")[0]
    mixed = torch.zeros_like(q)
    points = [
        found(w, name, q[:, g * per_group : (g + 1) * per_group], c, i) for g in range(groups)
    ]
    count = points[0].shape[1]
    sampled = torch.stack(
        [
            torch.cat(
                [
                    bilinear(maps, points[g][:, m])
                    for g, maps in enumerate(x.split(per_group, dim=1))
                ],
                dim=1,
            )
            for m in range(count)
        ],
        dim=1,
    )
    k, v = linear(w, f"{name}.proj_k", sampled), linear(w, f"{name}.proj_v", sampled)
    for head in range(heads):
        part = slice(head * per_head, (head + 1) * per_head)
        where = points[head * groups // heads]
        for r in range(rows):
            for s in range(columns):
                scores = (q[:, None, part, r, s] * k[:, :, part]).sum(-1) / per_head**0.5
                if table is not None:
                    here = [(2 * r + 1) / rows - 1, (2 * s + 1) / columns - 1]
                    here = torch.tensor(here, dtype=x.dtype)
                    maps = table[head].expand(b, 1, -1, -1)
                    far = [(here - where[:, m]) / 2 for m in range(count)]
                    scores = scores + torch.cat([bilinear(maps, offset) for offset in far], 1)
                weights = scores.softmax(-1)
                mixed[:, part, r, s] = (weights[:, :, None] * v[:, :, part]).sum(1)
    if f"{name}.rpe_table.weight" in w:
        kernel, bias = w[f"{name}.rpe_table.weight"], w[f"{name}.rpe_table.bias"]
        mixed = mixed + F.conv2d(q, kernel, bias, padding=1, groups=dim)
    return linear(w, f"{name}.proj_out", mixed.movedim(1, -1)).movedim(-1, 1)


def found(w, name, q, c, i):
    """Return a group's points (b m 2): row and column, from -1 to 1."""
    name, factor = f"{name}.conv_offset", c.offset_range[i]
    kernel, bias = w[f"{name}.0.weight"], w[f"{name}.0.bias"]
    x = F.conv2d(q, kernel, bias, c.stride[i], c.kernel_size[i] // 2, groups=q.shape[1])
    x = F.gelu(layer_norm(w, f"{name}.1", x))
    x = F.conv2d(x, w[f"{name}.3.weight"])
    rows, columns = x.shape[2:]
    if factor > 0:
        x = x.tanh() * factor / torch.tensor([rows, columns], dtype=x.dtype)[:, None, None]
    points = [
        x[:, :, r, s]
        + torch.tensor([(r + 0.5) / rows * 2 - 1, (s + 0.5) / columns * 2 - 1], dtype=x.dtype)
        for r in range(rows)
        for s in range(columns)
    ]
    points = torch.stack(points, 1)
    return points.tanh() if factor < 0 else points


def bilinear(maps, at):
    """Read maps (b c h w) at a point of each (b 2); beyond the outermost cells lie zeros."""
    high, wide = maps.shape[2:]
    r, s = (at[:, 0] + 1) / 2 * (high - 1), (at[:, 1] + 1) / 2 * (wide - 1)
    read = []
    for sample in range(len(maps)):
        total = 0 * maps[sample, :, 0, 0]
        top, left = math.floor(r[sample].item()), math.floor(s[sample].item())
        for row in (top, top + 1):
            for column in (left, left + 1):
                if 0 <= row < high and 0 <= column < wide:
                    near = (1 - (r[sample] - row).abs()) * (1 - (s[sample] - column).abs())
                    total = total + near * maps[sample, :, row, column]
        read.append(total)
    return torch.stack(read)
