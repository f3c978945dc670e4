"""Visual Transformers by the paper's equations, image by image, under our names."""

import torch


def classify(w, images, config):
    """Return the logits of a network with weights `w`; running statistics are used."""
    from patchword.models.resnet import ConvNorm, Stem, basic, bottleneck, stages

    c = config
    stem = Stem(c.in_chans, ConvNorm(c.in_chans, c.stem_dim, 7, 2, act=torch.nn.ReLU()))
    block = basic if c.block == "basic" else bottleneck
    blocks = stages(c.stem_dim, c.embed_dim, c.depth[:-1], block)
    x = images  # the ResNet is held elsewhere; what follows shares nothing with ours
    for name, part in (("backbone.stem.", stem), ("backbone.stages.", blocks)):
        own = {n: w[f"{name}{n}"] for n in part.state_dict()}
        part = part.double().eval()
        for stage in [part] if name.endswith("stem.") else part:
            begin = "" if stage is part else f"{[*part].index(stage)}."
            mine = {n.removeprefix(begin): t for n, t in own.items() if n.startswith(begin)}
            x = torch.func.functional_call(stage, mine, (x,))
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
