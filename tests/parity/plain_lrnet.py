"""LR-Net by its formulas (arXiv:1904.11491, equations 1 to 7), one cell at a time."""

import torch
import torch.nn.functional as F

from tests.parity.plain_san import norm
from tests.parity.plain_sasa import conv_norm, resnet

SIMILARITY = {
    "product": lambda q, k: q * k,
    "absolute": lambda q, k: -(q - k).abs(),
    "squared": lambda q, k: -((q - k) ** 2),
}


def prior(w, name, a, b, side):
    """Return the prior of a place in the window, by head."""
    half = side // 2
    offset = torch.tensor([a / half - 1, b / half - 1], dtype=torch.float64)
    hidden = w[f"{name}.prior.0.weight"] @ offset + w[f"{name}.prior.0.bias"]
    return w[f"{name}.prior.2.weight"] @ hidden.relu()


def relation(w, name, x, stride, config):
    """Relate each window; beyond the border a similarity is -100 and a value 0."""
    q, k, v = (F.conv2d(x, w[f"{name}.{part}.weight"]) for part in "qkv")
    side, (rows, columns) = config.kernel_size, x.shape[2:]
    places = [(a, b) for a in range(side) for b in range(side)]
    priors = [prior(w, f"{name}.attend", a, b, side) for a, b in places]
    lines = []
    for i in range(0, rows, stride):
        line = []
        for j in range(0, columns, stride):
            scores, values = [], []
            for (a, b), known in zip(places, priors, strict=True):
                y, z = i + a - side // 2, j + b - side // 2
                if 0 <= y < rows and 0 <= z < columns:
                    alike = SIMILARITY[config.similarity](q[:, :, i, j], k[:, :, y, z])
                    values.append(v[:, :, y, z])
                else:
                    alike = torch.full_like(q[:, :, i, j], -100)
                    values.append(torch.zeros_like(v[:, :, 0, 0]))
                scores.append(alike + known)
            shares = torch.stack(scores, 2).softmax(2)
            mixed = [
                sum(shares[:, c // config.share, p] * one[:, c] for p, one in enumerate(values))
                for c in range(v.shape[1])
            ]
            line.append(torch.stack(mixed, 1))
        lines.append(torch.stack(line, 2))
    return torch.stack(lines, 2)


def lrnet(weights, images, config):
    """Score images; the weights are under our names."""
    w = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    x = conv_norm(w, "stem.conv.0", images).relu()
    x = norm(w, "stem.conv.2", relation(w, "stem.conv.1", x, 2, config)).relu()
    x = F.max_pool2d(x, 3, 2, 1)

    def mix(w, name, x, stride):
        return norm(w, f"{name}.2", relation(w, f"{name}.1", x, stride, config)).relu()

    return resnet(w, x, config.depth, mix)
