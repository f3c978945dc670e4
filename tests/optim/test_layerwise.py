"""LAMB and LARS, against timm's, step by step at random weights and gradients."""

import pytest
import torch

from patchword.optim.lamb import Lamb, trust
from patchword.optim.lars import Lars

RATES = [0.02, 0.05, 0.1, 0.04, 0.01]
SHAPES = {"matrix": (5, 7), "kernel": (3, 2, 2, 2), "bias": (5,), "norm": (7,)}


def weights():
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=draw, dtype=torch.float64))
        for name, shape in SHAPES.items()
    }


def groups(held, decay):
    """Matrices and kernels decay, the others do not."""
    heavy = [held["matrix"], held["kernel"]]
    light = [held["bias"], held["norm"]]
    return [
        {"params": heavy, "lr": 0.0, "weight_decay": decay},
        {"params": light, "lr": 0.0, "weight_decay": 0.0},
    ]


def gradients(step):
    draw = torch.Generator().manual_seed(step + 1)
    return {
        name: 0.05 * torch.randn(shape, generator=draw, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def stepped(made, held):
    """Yield the weights after each step."""
    for step, rate in enumerate(RATES):
        for group in made.param_groups:
            group["lr"] = rate
        for name, gradient in gradients(step).items():
            held[name].grad = gradient
        made.step(lambda: torch.zeros(()))
        yield {name: tensor.detach().clone() for name, tensor in held.items()}


@pytest.mark.peers
@pytest.mark.parametrize("name", ["lamb", "lars"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_every_step_is_timm_s(name, decay):
    from timm.optim.lamb import Lamb as TheirLamb
    from timm.optim.lars import Lars as TheirLars

    ours, theirs = weights(), weights()
    if name == "lamb":
        made = Lamb(groups(ours, decay), betas=(0.8, 0.95))
        peer = TheirLamb(groups(theirs, decay), betas=(0.8, 0.95), eps=1e-8, max_grad_norm=None)
    else:
        made = Lars(groups(ours, decay), momentum=0.8)
        peer = TheirLars(groups(theirs, decay), momentum=0.8)
        peer.param_groups[0]["always_adapt"] = True  # ours adapts what has more than one axis
    for found, wanted in zip(stepped(made, ours), stepped(peer, theirs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    assert all((found[key] - weights()[key]).abs().max() > 1e-5 for key in SHAPES)


def test_a_lamb_step_is_as_long_as_the_rate_times_the_weights():
    held = weights()
    before = held["matrix"].detach().clone()
    next(stepped(Lamb(groups(held, 0.1), betas=(0.9, 0.999)), held))
    moved = (held["matrix"].detach() - before).norm() / before.norm()
    assert moved.item() == pytest.approx(RATES[0], rel=1e-6)


def test_what_starts_at_nothing_still_moves():
    assert trust(torch.zeros(3), torch.ones(3)) == 1.0 == trust(torch.ones(3), torch.zeros(3))
    for made in (Lamb, Lars):
        weight = torch.nn.Parameter(torch.zeros(2, 2))
        group = [{"params": [weight], "lr": 0.1, "weight_decay": 0.1}]
        optimizer = made(group, betas=(0.9, 0.99)) if made is Lamb else made(group, momentum=0.9)
        weight.grad = torch.ones(2, 2)
        optimizer.step(lambda: torch.zeros(()))
        assert weight.isfinite().all() and (weight < 0).all()
