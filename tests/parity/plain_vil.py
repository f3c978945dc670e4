"""ViL in loops over stages, heads and cells, under its authors' names.

What a cell sees is decided cell by cell, from where it and the other lie.
"""

import math

import torch
import torch.nn.functional as F


def classify(w, images, config):
    """Return the logits of a network with weights `w`."""
    c, x = config, images
    for i, depth in enumerate(c.depth):
        x, grid = embed(w, f"layer{i + 1}.0", x, c, i)
        for j in range(depth):
            name = f"layer{i + 1}.{2 * j + 1}"
            mix = longformer if c.local[i] else whole
            x = x + mix(w, f"{name}.attn", norm(w, f"{name}.norm", x), grid, c, i)
            name = f"layer{i + 1}.{2 * j + 2}"
            hidden = F.gelu(linear(w, f"{name}.mlp.fc1", norm(w, f"{name}.norm", x)))
            x = x + linear(w, f"{name}.mlp.fc2", hidden)
        if i + 1 < len(c.depth):
            x = x[:, c.num_globals[i] :].transpose(1, 2).reshape(len(x), -1, *grid)
    x = norm(w, "norm", x)
    return linear(w, "head", x[:, 0] if c.pool == "token" else x.mean(1))


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def embed(w, name, x, c, i):
    kernel, bias = w[f"{name}.proj.weight"], w[f"{name}.proj.bias"]
    x = F.conv2d(x, kernel, bias, stride=c.patch_size[i])
    grid = tuple(x.shape[2:])
    x = x.flatten(2).transpose(1, 2)
    if c.norm_embed:
        x = norm(w, f"{name}.norm_embed", x)
    absolute = c.position[i] == "absolute"
    if absolute:
        rows, columns = (
            F.interpolate(w[f"{name}.{axis}_pos_embed"].mT, side, mode="linear").mT[0]
            for axis, side in zip("xy", grid, strict=True)
        )
        x = x + torch.stack([torch.cat([r, s]) for r in rows for s in columns])
    if c.num_globals[i]:
        token = w[f"{name}.cls_token"]
        if absolute:
            token = token + w[f"{name}.cls_pos_embed"]
        x = torch.cat([token.expand(len(x), -1, -1), x], 1)
    return x, grid


def attend(q, keys, values, biases):
    """Mix the values of some keys for one query, all of one head (lists of b c, and numbers)."""
    scores = [
        (q * k).sum(-1) / q.shape[-1] ** 0.5 + bias for k, bias in zip(keys, biases, strict=True)
    ]
    weights = torch.stack(scores, -1).softmax(-1)
    return sum(weights[:, m, None] * value for m, value in enumerate(values))


def whole(w, name, x, grid, c, i):
    places = [(r, s) for r in range(grid[0]) for s in range(grid[1])]
    count, heads, dim = c.num_globals[i], c.num_heads[i], x.shape[-1] // c.num_heads[i]
    bias = Bias(w, name, c.grid(i), grid)
    q, k, v = linear(w, f"{name}.qkv", x).chunk(3, -1)
    out = torch.zeros_like(q)
    tokens = [*range(count), *places]
    for head in range(heads):
        part = slice(head * dim, (head + 1) * dim)
        keys, values = [*k[:, :, part].unbind(1)], [*v[:, :, part].unbind(1)]
        for n, token in enumerate(tokens):
            biases = [bias(head, token, other) for other in tokens]
            out[:, n, part] = attend(q[:, n, part], keys, values, biases)
    return linear(w, f"{name}.proj", out)


def longformer(w, name, x, grid, c, i):
    count, heads, side = c.num_globals[i], c.num_heads[i], c.window_size[i]
    dim, (rows, columns) = x.shape[-1] // heads, grid
    bias = Bias(w, name, (2 * side, 2 * side), (2 * side, 2 * side))
    to = "_global" if count and not c.shared else ""
    q, (k, v) = linear(w, f"{name}.query", x), linear(w, f"{name}.kv", x).chunk(2, -1)
    q_all = linear(w, f"{name}.query{to}", x[:, :count])
    k_all, v_all = linear(w, f"{name}.kv{to}", x).chunk(2, -1)
    near, far = torch.zeros_like(q[:, count:]), torch.zeros_like(q_all)
    places = [(r, s) for r in range(rows) for s in range(columns)]
    nothing = torch.zeros_like(x[:, 0, :dim])
    for head in range(heads):
        part = slice(head * dim, (head + 1) * dim)
        for n in range(count):
            biases = [bias(head, n, other) for other in [*range(count), *places]]
            found = [k_all[:, :, part].unbind(1), v_all[:, :, part].unbind(1)]
            far[:, n, part] = attend(q_all[:, n, part], *found, biases)
        for r, s in places:
            keys, values = [*k[:, :count, part].unbind(1)], [*v[:, :count, part].unbind(1)]
            biases = [bias(head, (r, s), n) for n in range(count)]
            for t, u in seen((r, s), grid, side, c.reach):
                at = (t % padded(rows, side), u % padded(columns, side))
                inside = at[0] < rows and at[1] < columns
                n = count + at[0] * columns + at[1]
                keys.append(k[:, n, part] if inside else nothing)
                values.append(v[:, n, part] if inside else nothing)
                biases.append(bias(head, (r, s), (t, u)))
            near[:, r * columns + s, part] = attend(
                q[:, count + r * columns + s, part], keys, values, biases
            )
    near = linear(w, f"{name}.proj", near)
    return torch.cat([linear(w, f"{name}.proj{to}", far), near], 1) if count else near


def padded(length, side):
    return math.ceil(length / side) * side


def seen(place, grid, side, reach):
    """Yield what a cell sees, off the map too where its edges are joined."""
    for t in range(-side, padded(grid[0], side) + side):
        for u in range(-side, padded(grid[1], side) + side):
            if all(near(*axis, side, reach) for axis in zip(place, (t, u), grid, strict=True)):
                yield t, u


def near(cell, other, length, side, reach):
    """Tell whether a cell sees another, along one axis."""
    if abs(cell // side - other // side) > 1:
        return False
    if reach == "cyclic":  # padding is seen across the joined edges alone
        return other < length or other >= padded(length, side)
    inside = 0 <= other < length
    return inside and (reach == "chunks" or abs(cell - other) <= side)


class Bias:
    """A number for two tokens of a head: cells are places, global tokens are numbers."""

    def __init__(self, w, name, old, new):
        self.table = w.get(f"{name}.local_relative_position_bias_table")
        if self.table is None:
            return
        sides = tuple(2 * side - 1 for side in new)
        table = self.table.T.unflatten(1, tuple(2 * side - 1 for side in old))[None]
        self.table = F.interpolate(table, sides, mode="bilinear")[0]
        self.middle = (new[0] - 1, new[1] - 1)
        self.between = w.get(f"{name}.g2l_relative_position_bias")
        self.among = w.get(f"{name}.g2g_relative_position_bias")

    def __call__(self, head, query, key):
        if self.table is None:
            return 0.0
        if isinstance(query, int):
            return (
                self.among[head, query, key]
                if isinstance(key, int)
                else self.between[0, head, query]
            )
        if isinstance(key, int):
            return self.between[1, head, key]
        down, across = (q - k + m for q, k, m in zip(query, key, self.middle, strict=True))
        return self.table[head, down, across]
