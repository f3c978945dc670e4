"""Non-local networks by their formulas (arXiv:1711.07971, section 3), a pair of cells at a time."""

import torch
import torch.nn.functional as F

from tests.parity.plain_san import norm
from tests.parity.plain_sasa import conv_norm


def pooled(x):
    """Return the largest of each 2 x 2 cells."""
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    corners = [x[:, :, a : 2 * rows : 2, b : 2 * columns : 2] for a in (0, 1) for b in (0, 1)]
    return torch.stack(corners).amax(0)


def project(w, name, x):
    y = torch.einsum("dc,bchw->bdhw", w[f"{name}.weight"].flatten(1), x)
    return y + w[f"{name}.bias"][:, None, None]


def non_local(w, name, x, config):
    seen = pooled(x) if config.pool == "input" else x
    q, k, v = x, seen, project(w, f"{name}.g", seen)
    if config.affinity != "gaussian":
        q, k = project(w, f"{name}.theta", x), project(w, f"{name}.phi", seen)
    if config.pool == "projected":
        k, v = pooled(k), pooled(v)
    scale = q.shape[1] ** -0.5 if config.scale == "root" else 1.0
    q, k, v = (t.flatten(2) for t in (q, k, v))
    count, cells = k.shape[2], []
    for i in range(q.shape[2]):
        f = []
        for j in range(count):
            both = torch.cat([q[:, :, i], k[:, :, j]], 1)
            product = (q[:, :, i] * k[:, :, j]).sum(1)
            match config.affinity:
                case "concatenation":
                    f.append((both @ w[f"{name}.attend.project.weight"][0]).relu() / count)
                case "dot_product":
                    f.append(product / count)
                case _:
                    f.append((product * scale).exp())
        total = 1 if config.affinity in ("concatenation", "dot_product") else sum(f)
        cells.append(sum((f[j] / total)[:, None] * v[:, :, j] for j in range(count)))
    y = torch.stack(cells, 2).unflatten(2, x.shape[2:])
    return x + norm(w, f"{name}.norm", project(w, f"{name}.out", y))


def network(weights, images, config):
    """Score images; the weights are under our names."""
    w = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    x = F.max_pool2d(conv_norm(w, "stem.conv", images, 2, 3).relu(), 3, 2, 1)
    for stage, depth in enumerate(config.depth):
        for i in range(depth):
            name, stride = f"stages.{stage}.{i}", 2 if stage and not i else 1
            followed = f"{name}.1.g.weight" in w
            local = f"{name}.0" if followed else name
            y = conv_norm(w, f"{local}.branch.0", x).relu()
            y = conv_norm(w, f"{local}.branch.1", y, stride, 1).relu()
            y = conv_norm(w, f"{local}.branch.2", y)
            if f"{local}.shortcut.conv.weight" in w:
                x = conv_norm(w, f"{local}.shortcut", x, stride)
            x = (x + y).relu()
            x = non_local(w, f"{name}.1", x, config) if followed else x
    return x.mean(dim=(2, 3)) @ w["head.label.weight"].T + w["head.label.bias"]
