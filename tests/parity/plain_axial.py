"""Axial-ResNet by its formulas (arXiv:2003.07853, equation 3), one line and one head at a time."""

import torch
import torch.nn.functional as F

from tests.parity.plain_san import norm


def line(q, k, v, codes):
    """Return the three terms of the scores of one line (b n c), and what sums its values and codes.

    `codes` are columns, one per offset from -(n - 1) to n - 1.
    """
    n, c = q.shape[1:]
    r_q, r_k, r_v = (codes[a:b] for a, b in ((0, c), (c, 2 * c), (2 * c, 4 * c)))
    at = n - 1
    qk, qr, kr = (q.new_empty(len(q), n, n) for _ in range(3))
    for i in range(n):
        for j in range(n):
            qk[:, i, j] = (q[:, i] * k[:, j]).sum(1)
            qr[:, i, j] = (q[:, i] * r_q[:, i - j + at]).sum(1)
            kr[:, i, j] = (k[:, j] * r_k[:, j - i + at]).sum(1)

    def gather(shares):
        values, places = [], []
        for i in range(n):
            values.append(sum(shares[:, i, j, None] * v[:, j] for j in range(n)))
            places.append(sum(shares[:, i, j, None] * r_v[:, i - j + at] for j in range(n)))
        return torch.stack(values, 1), torch.stack(places, 1)

    return (qk, qr, kr), gather


def attention(w, name, x, heads):
    """Attend along the columns of a map."""
    qkv = torch.einsum("oc,bchw->bohw", w[f"{name}.qkv_transform.weight"][..., 0], x)
    qkv = norm(w, f"{name}.bn_qkv", qkv)
    dim = qkv.shape[1] // 2
    c = dim // heads // 2
    out = x.new_zeros(len(x), 2 * dim, *x.shape[2:])
    for column in range(x.shape[3]):
        gathers, terms = [], []
        for head in range(heads):
            part = qkv[:, 4 * c * head : 4 * c * (head + 1), :, column].mT
            q, k, v = part.split([c, c, 2 * c], -1)
            found, gather = line(q, k, v, w[f"{name}.relative"])
            terms.append(found)
            gathers.append(gather)
        stacked = torch.stack([term[kind] for kind in range(3) for term in terms], 1)
        scores = norm(w, f"{name}.bn_similarity", stacked)
        for head in range(heads):
            total = scores[:, head] + scores[:, heads + head] + scores[:, 2 * heads + head]
            both = gathers[head](total.softmax(-1))
            at = 4 * c * head
            for kind in range(2):
                out[:, at + kind : at + 4 * c : 2, :, column] = both[kind].mT
    out = norm(w, f"{name}.bn_output", out)
    return out[:, ::2] + out[:, 1::2]


def block(w, name, x, stride, heads):
    y = norm(w, f"{name}.bn1", F.conv2d(x, w[f"{name}.conv_down.weight"])).relu()
    y = attention(w, f"{name}.hight_block", y, heads)
    y = attention(w, f"{name}.width_block", y.mT, heads).mT
    y = F.avg_pool2d(y, stride).relu()
    y = norm(w, f"{name}.bn2", F.conv2d(y, w[f"{name}.conv_up.weight"]))
    if f"{name}.downsample.0.weight" in w:
        x = F.conv2d(x, w[f"{name}.downsample.0.weight"], stride=stride)
        x = norm(w, f"{name}.downsample.1", x)
    return (x + y).relu()


def axial(w, images, config):
    """Score images; the weights are under the authors' names."""
    x = norm(w, "bn1", F.conv2d(images, w["conv1.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(config.depth):
        for i in range(depth):
            stride = 2 if stage and not i else 1
            x = block(w, f"layer{stage + 1}.{i}", x, stride, config.num_heads)
    return x.mean(dim=(2, 3)) @ w["fc.weight"].T + w["fc.bias"]
