"""Quadratic attention by its formulas (arXiv:1911.03584), one pair of cells at a time."""

import torch
import torch.nn.functional as F


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    y = (x - mean) / (variance + 1e-12).sqrt()
    return y * w[f"{name}.weight"] + w[f"{name}.bias"]


def code(a, b):
    """Return the quadratic encoding of an offset."""
    return torch.tensor([a, b, a * a, b * b, a * b], dtype=torch.float64)


def target(center, spread):
    """Return the vector whose product with an encoding is a head's score."""
    matrix = spread * torch.eye(2, dtype=torch.float64) if spread.ndim == 0 else spread
    inverse = matrix @ matrix.T
    (a, b), (_, c) = inverse
    x, y = center
    return -torch.stack([-2 * (a * x + b * y), -2 * (c * y + b * x), a, c, 2 * b]) / 2


def attention(w, name, x, rows, columns):
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    pairs = zip(w[f"{name}.attention_centers"], w[f"{name}.attention_spreads"], strict=True)
    heads = []
    for center, spread in pairs:
        u = target(center, spread)
        lines = []
        for i, j in cells:
            scores = torch.stack([code(a - i, b - j) @ u for a, b in cells])
            shares = scores.softmax(0)
            lines.append(sum(share * x[:, m] for m, share in enumerate(shares)))
        heads.append(torch.stack(lines, 1))
    return linear(w, f"{name}.value", torch.cat(heads, -1))


def quadratic(w, images, config):
    """Score images; the weights are under the authors' names."""
    p = config.patch_size
    rows, columns = (side // p for side in images.shape[2:])
    tokens = [
        images[:, :, p * i : p * (i + 1), p * j : p * (j + 1)].permute(0, 2, 3, 1).flatten(1)
        for i in range(rows)
        for j in range(columns)
    ]
    x = linear(w, "features_upscale", torch.stack(tokens, 1))
    for i in range(config.depth):
        layer = f"encoder.layer.{i}"
        y = attention(w, f"{layer}.attention.self", x, rows, columns)
        y = linear(w, f"{layer}.attention.output.dense", y)
        x = norm(w, f"{layer}.attention.output.LayerNorm", x + y)
        y = linear(w, f"{layer}.output.dense", F.gelu(linear(w, f"{layer}.intermediate.dense", x)))
        x = norm(w, f"{layer}.output.LayerNorm", x + y)
    return linear(w, "classifier", x.mean(dim=1))
