"""SASA by its formulas (arXiv:1906.05909, equations 2 to 5), one cell and one head at a time."""

import torch
import torch.nn.functional as F

from tests.parity.plain_san import norm


def attended(q, keys, values, codes=None):
    """Return the softmax-weighted sum of values (b c each), for one query of one head."""
    scores = []
    for i, key in enumerate(keys):
        score = (q * key).sum(1)
        scores.append(score if codes is None else score + q @ codes[i])
    shares = torch.stack(scores, 1).softmax(1)
    return sum(shares[:, i, None] * value for i, value in enumerate(values))


def window(i, j, rows, columns, side):
    """List the places of a window that are on the map, and the cells there."""
    half = side // 2
    places = [(a, b) for a in range(side) for b in range(side)]
    cells = [((a, b), (i + a - half, j + b - half)) for a, b in places]
    return [(p, (y, x)) for p, (y, x) in cells if 0 <= y < rows and 0 <= x < columns]


def attention(w, name, x, config):
    q, k, v = F.conv2d(x, w[f"{name}.qkv.weight"]).chunk(3, 1)
    heads, (rows, columns) = config.num_heads, x.shape[2:]
    c = q.shape[1] // heads
    out = torch.zeros_like(q)
    for h in range(heads):
        part = slice(c * h, c * (h + 1))
        down, across = (w[f"{name}.attend.{axis}"][h] for axis in ("rows", "columns"))
        for i in range(rows):
            for j in range(columns):
                seen = window(i, j, rows, columns, config.kernel_size)
                codes = [torch.cat([down[:, a], across[:, b]]) for (a, b), _ in seen]
                keys = [k[:, part, y, z] for _, (y, z) in seen]
                values = [v[:, part, y, z] for _, (y, z) in seen]
                out[:, part, i, j] = attended(q[:, part, i, j], keys, values, codes)
    return out


def stem(w, images, config):
    """Attend within each block of 4 x 4 pixels."""
    heads, dim = config.stem_heads, config.stem_dim
    q, k = torch.einsum("dc,bcyx->bdyx", w["stem.qk.weight"], images).chunk(2, 1)
    c = dim // heads
    v, out = torch.zeros_like(q), torch.zeros_like(q)
    for y in range(v.shape[2]):
        for x in range(v.shape[3]):
            place = w["stem.rows"][y % 4] + w["stem.columns"][x % 4]
            shares = (w["stem.mixtures"] @ place).softmax(0)
            matrix = sum(share * one for share, one in zip(shares, w["stem.values"], strict=True))
            v[:, :, y, x] = images[:, :, y, x] @ matrix.T
    for h in range(heads):
        part = slice(c * h, c * (h + 1))
        for y in range(v.shape[2]):
            for x in range(v.shape[3]):
                top, left = y // 4 * 4, x // 4 * 4
                block = [(top + a, left + b) for a in range(4) for b in range(4)]
                keys, values = ([t[:, part, a, b] for a, b in block] for t in (k, v))
                out[:, part, y, x] = attended(q[:, part, y, x], keys, values)
    return F.max_pool2d(norm(w, "stem.norm", out), 4)


def conv_norm(w, name, x, stride=1, padding=0):
    return norm(w, f"{name}.norm", F.conv2d(x, w[f"{name}.conv.weight"], None, stride, padding))


def resnet(w, x, depths, mix):
    """Return the logits of a map by bottlenecks; `mix(w, name, x, stride)` is each one's middle."""
    for stage, depth in enumerate(depths):
        for i in range(depth):
            name, stride = f"stages.{stage}.{i}", 2 if stage and not i else 1
            y = mix(w, f"{name}.branch", conv_norm(w, f"{name}.branch.0", x).relu(), stride)
            last = max(int(n.split(".")[4]) for n in w if n.startswith(f"{name}.branch."))
            y = conv_norm(w, f"{name}.branch.{last}", y)
            if f"{name}.shortcut.conv.weight" in w:
                x = conv_norm(w, f"{name}.shortcut", x, stride)
            x = (x + y).relu()
    return x.mean(dim=(2, 3)) @ w["head.label.weight"].T + w["head.label.bias"]


def sasa(weights, images, config):
    """Score images; the weights are under our names."""
    w = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    if config.stem == "attention":
        x = stem(w, images, config)
    else:
        x = F.max_pool2d(conv_norm(w, "stem.conv", images, 2, 3).relu(), 3, 2, 1)

    def mix(w, name, x, stride):
        y = F.avg_pool2d(attention(w, f"{name}.1", x, config), stride)
        return norm(w, f"{name}.3", y).relu()

    return resnet(w, x, config.depth, mix)
