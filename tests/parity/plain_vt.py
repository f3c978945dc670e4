"""Visual Transformers by the paper's equations, image by image, under our names."""

import torch
import torch.nn.functional as F


def classify(w, images, config):
    """Return the logits of a network with weights `w`; batch norms use running statistics."""
    c = config
    x = conv_norm(w, "backbone.stem.conv", images, 2).relu()
    x = F.max_pool2d(x, 3, 2, padding=1)
    for i, depth in enumerate(c.depth[:-1]):
        for k in range(depth):
            x = residual(w, f"backbone.stages.{i}.{k}", x, 2 if i and not k else 1, c.block)
    logits = []
    for image in x.flatten(2).mT:
        pixels, tokens = image, None
        for j in range(c.depth[-1]):
            at = f"backbone.stages.{len(c.embed_dim)}.{j}"
            last = j + 1 == c.depth[-1]
            pixels, tokens = transformer(w, at, pixels, tokens, last=last)
        pooled = sum(tokens) / len(tokens)
        logits.append(pooled @ w["head.label.weight"].T + w["head.label.bias"])
    return torch.stack(logits)


def conv_norm(w, at, x, stride):
    kernel = w[f"{at}.conv.weight"]
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    mean, variance = (w[f"{at}.norm.running_{part}"].detach() for part in ("mean", "var"))
    scale = w[f"{at}.norm.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f"{at}.norm.bias"][:, None, None]


def residual(w, at, x, stride, block):
    strides = (stride, 1) if block == "basic" else (1, stride, 1)
    y = x
    for n, step in enumerate(strides):
        y = conv_norm(w, f"{at}.branch.{n}", y, step)
        y = y if n + 1 == len(strides) else y.relu()
    if f"{at}.shortcut.conv.weight" in w:
        x = conv_norm(w, f"{at}.shortcut", x, stride)
    return (x + y).relu()


def softmax(scores, axis):
    powers = (scores - scores.max()).exp()
    return powers / powers.sum(axis, keepdim=True)


def transformer(w, at, pixels, tokens, *, last):
    """Return pixels (HW C) and tokens (L D) after one module."""

    def matrix(name):
        return w[f"{at}.{name}.weight"].T

    if tokens is None:
        filters = w[f"{at}.tokenizer.filters"].T  # equation 1
    else:
        filters = (tokens @ matrix("tokenizer.recur")).T  # equation 2
    attention = softmax(pixels @ filters, 0)  # over the pixels
    tokens = attention.T @ (pixels @ matrix("tokenizer.value"))
    key, query = tokens @ matrix("transformer.key"), tokens @ matrix("transformer.query")
    tokens = tokens + softmax(key @ query.T, 1) @ tokens  # equation 3
    hidden = (tokens @ matrix("transformer.fc1")).clamp(min=0)
    tokens = tokens + hidden @ matrix("transformer.fc2")  # equation 4
    if not last:
        query, key = pixels @ matrix("projector.query"), tokens @ matrix("projector.key")
        value = tokens @ matrix("projector.value")
        pixels = pixels + softmax(query @ key.T, 1) @ value  # equation 5
    return pixels, tokens
