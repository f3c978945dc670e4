"""SAN by its formulas (arXiv:2004.13621, equations 1 to 5), one pair of cells at a time."""

import torch
import torch.nn.functional as F


def mirrored(place, side):
    """Return where the mirror image of a place lies on an axis."""
    place = abs(place)
    return 2 * (side - 1) - place if place >= side else place


def norm(w, name, x):
    """Batch norm over the channels (first axis but one) by the running statistics."""
    shape = [1, -1, *[1] * (x.ndim - 2)]
    mean, var, scale, shift = (
        w[f"{name}.{part}"].view(shape)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def linear(w, name, x):
    """Return a 1x1 convolution of vectors (b c)."""
    y = x @ w[f"{name}.weight"].flatten(1).T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def pixelwise(w, name, x):
    return linear(w, name, x.movedim(1, -1)).movedim(-1, 1)


def window(i, j, rows, columns, k):
    """List the cells of a window, row by row."""
    half = range(-(k // 2), k // 2 + 1)
    return [(mirrored(i + di, rows), mirrored(j + dj, columns)) for di in half for dj in half]


def relation(w, name, x):
    """Return the mapping of a relation to weights: norm, ReLU, linear, twice."""
    x = linear(w, f"{name}.2", norm(w, f"{name}.0", x).relu())
    return linear(w, f"{name}.5", norm(w, f"{name}.3", x).relu())


def sam(w, name, x, k, config):
    q, key, v = (pixelwise(w, f"{name}.conv{i}", x) for i in (1, 2, 3))
    rows, columns = x.shape[2:]
    heads = v.shape[1] // config.share
    of_head = torch.arange(v.shape[1]) % heads
    out = []
    for i in range(rows):
        for j in range(columns):
            cells = window(i, j, rows, columns, k)
            if config.attention == "pairwise":
                scores = [
                    relation(w, f"{name}.conv_w", pair(w, name, q, key, (i, j), cell))
                    for cell in cells
                ]
                shares = torch.stack(scores, dim=2).softmax(2)
            else:
                keys = torch.stack([key[:, :, a, b] for a, b in cells], dim=2).flatten(1)
                seen = torch.cat([q[:, :, i, j], keys], dim=1)
                shares = relation(w, f"{name}.conv_w", seen).view(len(x), heads, k * k)
            values = torch.stack([v[:, :, a, b] for a, b in cells], dim=2)
            out.append((shares[:, of_head] * values).sum(2))
    return torch.stack(out, dim=2).view(*v.shape)


def pair(w, name, q, key, cell, other):
    """Return the relation of two cells: the difference of their vectors and of their places."""
    rows, columns = q.shape[2:]
    places = []
    for i, j in (cell, other):
        place = [2 * j / (columns - 1) - 1, 2 * i / (rows - 1) - 1]
        place = torch.tensor([place], dtype=q.dtype)
        places.append(linear(w, f"{name}.conv_p", place))
    apart = q[:, :, cell[0], cell[1]] - key[:, :, other[0], other[1]]
    return torch.cat([apart, (places[0] - places[1]).expand(len(q), -1)], dim=1)


def san(w, images, config):
    """Score images; the weights are under the authors' names."""
    x = norm(w, "bn_in", pixelwise(w, "conv_in", images)).relu()
    for stage, depth in enumerate(config.depth):
        x = pixelwise(w, f"conv{stage}", F.max_pool2d(x, 2))
        for block in range(depth):
            name = f"layer{stage}.{block}"
            y = sam(
                w,
                f"{name}.sam",
                norm(w, f"{name}.bn1", x).relu(),
                config.kernel_size[stage],
                config,
            )
            x = x + pixelwise(w, f"{name}.conv", norm(w, f"{name}.bn2", y).relu())
        last = 4 if stage == len(config.depth) - 1 else stage  # our names say that it is the last
        x = norm(w, f"bn{last}", x).relu()
    return linear(w, "fc", x.mean(dim=(2, 3)))
