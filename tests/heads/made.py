"""Tiny dense models, filled from others' weights and held against them both ways."""

import importlib

import torch

from patchword import heads, models
from patchword.weights import fill
from tests.contract.tiny import made as made_backbone


def made(pair):
    """Make a dense model whose every tensor counts, in evaluation mode."""
    backbone, head = pair
    model = head.assemble(made_backbone(backbone), 1 if head.kind == "depth" else 5)
    with torch.no_grad():
        for name, tensor in model.head.state_dict(keep_vars=True).items():
            if name.endswith("running_var"):
                tensor *= (0.2 * torch.randn_like(tensor)).exp()
            elif tensor.is_floating_point():
                tensor += (0.1 if tensor.ndim <= 1 else 0.02) * torch.randn_like(tensor)
    return model.eval()


def filled(file, name, family, pair, weights, classes):
    """Make a model with another project's weights, and write them back.

    Args:
        file: of the head.
        name: of the format; or the format itself, which no file is in.
        family: of the backbone.
        pair: configs of backbone and head.
        weights: theirs.
        classes: how many.
    """
    config, head = pair
    known = {f.name: f for f in importlib.import_module(f"{heads.__name__}.{file}").FORMATS}
    form = known[name] if isinstance(name, str) else name
    below = importlib.import_module(f"{models.__name__}.{family}").FORMATS
    format_ = form.around(below, head)
    assert format_ is not None
    model = head.assemble(config.build(), classes)
    fill(model, format_.load(weights, config))
    back = format_.save(model.state_dict(), config=config)
    ignored = {n for n in weights if format_.ignores(n)}
    assert back.keys() - ignored == weights.keys() - ignored, back.keys() ^ weights.keys()
    for key in weights.keys() - ignored:
        apart = (back[key] != weights[key]).reshape(-1)
        assert not apart.any() or key.endswith("pos_embed"), key
    return model.eval(), format_
