"""CSWin as its formulas say (arXiv:2107.00652), cell by cell."""

import torch
import torch.nn.functional as F


def norm(x, weight, bias, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def backbone(w, config, images):
    maps, x = {}, images
    for stage, depth in enumerate(config.depth):
        at = f"stages.{stage}.embed"
        stride, padding = (2, 1) if stage else (4, 2)
        x = F.conv2d(x, w[f"{at}.proj.weight"], w[f"{at}.proj.bias"], stride, padding)
        x = norm(x.permute(0, 2, 3, 1), w[f"{at}.norm.weight"], w[f"{at}.norm.bias"])
        for i in range(depth):
            start = f"stages.{stage}.blocks.{i}."
            parts = {n.removeprefix(start): t for n, t in w.items() if n.startswith(start)}
            x = block(parts, x, config.num_heads[stage], config.stripes[stage])
        x = x.permute(0, 3, 1, 2)
        maps[f"stages.{stage}"] = x
    x = norm(x.permute(0, 2, 3, 1), w["norm.weight"], w["norm.bias"])
    maps["final"] = x.permute(0, 3, 1, 2)
    return x.mean((1, 2)), maps


def block(w, x, heads, stripe):
    z = norm(x, w["norm1.weight"], w["norm1.bias"])
    x = x + attention(w, z, heads, stripe) @ w["attn.proj.weight"].T + w["attn.proj.bias"]
    z = norm(x, w["norm2.weight"], w["norm2.bias"])
    hidden = F.gelu(z @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"])
    return x + hidden @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]


def attention(w, z, heads, stripe):
    """Every head in its stripes, side by side."""
    dim = z.shape[-1]
    size = dim // heads
    qkv = z @ w["attn.qkv.weight"].T + w.get("attn.qkv.bias", 0)
    outputs = []
    for head in range(heads):
        q, k, v = (qkv[..., part * dim + head * size :][..., :size] for part in range(3))
        upright = head < heads // 2
        branch = 0 if stripe is None or upright else 1
        first = head if branch == 0 else head - heads // 2
        kernel = w[f"attn.branches.{branch}.lepe.weight"][first * size :][:size, 0]
        shift = w[f"attn.branches.{branch}.lepe.bias"][first * size :][:size]
        outputs.append(head_output(q, k, v, kernel, shift, stripes(z.shape[1:3], stripe, upright)))
    return torch.cat(outputs, dim=-1)


def stripes(grid, stripe, upright):
    """List stripes as lists of cells; those beyond the map's edges belong to them as well."""
    rows, columns = grid
    if stripe is None:
        return [[(r, c) for r in range(rows) for c in range(columns)]]
    across, along = (columns, rows) if upright else (rows, columns)
    before = (-across % stripe) // 2
    found = []
    for start in range(-before, across, stripe):
        cells = [(i, j) for j in range(start, start + stripe) for i in range(along)]
        found.append([(i, j) if upright else (j, i) for i, j in cells])
    return found


def head_output(q, k, v, kernel, shift, stripes):
    rows, columns = q.shape[1:3]
    zero = torch.zeros_like(q[:, 0, 0])

    def at(x, cell):
        inside = 0 <= cell[0] < rows and 0 <= cell[1] < columns
        return x[:, cell[0], cell[1]] if inside else zero

    output = {}
    for cells in stripes:
        keys = torch.stack([at(k, cell) for cell in cells], dim=1)
        values = torch.stack([at(v, cell) for cell in cells], dim=1)
        for row, column in cells:
            if not (0 <= row < rows and 0 <= column < columns):
                continue
            scores = (keys * at(q, (row, column))[:, None]).sum(-1) / q.shape[-1] ** 0.5
            mixed = (scores.softmax(-1)[..., None] * values).sum(1)
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    beside = (row + down, column + right)
                    if beside in cells:
                        mixed = mixed + kernel[:, down + 1, right + 1] * at(v, beside)
            output[row, column] = mixed + shift
    lines = [torch.stack([output[r, c] for c in range(columns)], dim=1) for r in range(rows)]
    return torch.stack(lines, dim=1)
