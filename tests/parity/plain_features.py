"""Hold a backbone against its plain form: written from the paper's formulas, slow, in float64.

A plain form is a function of (weights, config, images) that shares no code with ours. It returns
what is pooled, and maps of levels by name.
"""

import torch

from tests.contract.tiny import images, made


def check(plain, config, size=None):
    """Compare what is pooled, the levels that the plain form returns, and all gradients."""
    backbone = made(config).double()
    batch = images(config, size=size).double()
    names = [level.name for level in backbone.levels]
    pooled, taps = backbone(batch, taps=names)
    parameters = dict(backbone.named_parameters())
    weights = {**backbone.state_dict()}
    weights |= {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    plain_pooled, plain_maps = plain(weights, config, batch)
    same(pooled, plain_pooled, "pooled")
    found = {name: tap.map for name, tap in zip(names, taps, strict=True)}
    assert plain_maps.keys() <= found.keys()
    for name, wanted in plain_maps.items():
        same(found[name], wanted, name)
    loss, plain_loss = combined(pooled, found["final"]), combined(plain_pooled, plain_maps["final"])
    ours = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
    leaves = [weights[name] for name in parameters]
    theirs = torch.autograd.grad(plain_loss, leaves, allow_unused=True)
    for name, slope, wanted in zip(parameters, ours, theirs, strict=True):
        zero = torch.zeros_like(parameters[name])
        same(zero if slope is None else slope, zero if wanted is None else wanted, name)


def combined(*outputs):
    """Return a sum of all outputs' values, each times a number of its own."""
    generator = torch.Generator().manual_seed(7)
    return sum(
        (x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in outputs
    )


def same(found, wanted, what):
    scale = wanted.abs().max().item()
    torch.testing.assert_close(
        found, wanted, rtol=1e-9, atol=1e-11 * (1 + scale), msg=lambda text: f"{what}: {text}"
    )
