"""Mixup and CutMix: slices mix as the whole, plans follow their address and their settings."""

import numpy as np
import pytest
import torch

from patchword.data.augment import Mixing
from patchword.data.mix import MixPlan, apply_mix, draw_mix, neighbours
from patchword.errors import ConfigError, ShapeError


def example(count=8):
    torch.manual_seed(0)
    return torch.rand(count, 3, 12, 10), torch.eye(5)[torch.arange(count) % 5]


PLANS = [MixPlan(0.3, None), MixPlan(0.6, (0.5, 0.1)), MixPlan(0.2, (0.99, 0.0))]


@pytest.mark.parametrize("plan", PLANS)
def test_slices_mix_as_the_whole(plan):
    images, targets = example()
    whole = apply_mix(images, targets, plan)
    for start in (0, 2, 6):
        part = apply_mix(images[start : start + 2], targets[start : start + 2], plan)
        assert torch.equal(part[0], whole[0][start : start + 2])
        assert torch.equal(part[1], whole[1][start : start + 2])
    assert torch.equal(images, example()[0])


@pytest.mark.parametrize("plan", PLANS[1:])
def test_cutmix_s_targets_follow_the_pixels(plan):
    images, targets = example()
    mixed, soft = apply_mix(images, targets, plan)
    pasted = (mixed == neighbours(images)).float().mean()
    assert soft[0, 0].item() == pytest.approx(1 - pasted.item(), abs=1e-6)
    assert torch.allclose(soft.sum(1), torch.ones(8))


def test_draws_follow_the_settings():
    plans = [draw_mix(Mixing(mixup=0.8, cutmix=1.0, probability=0.5), 0, 1, n) for n in range(2000)]
    mixed = [plan for plan in plans if plan]
    assert abs(len(mixed) / 2000 - 0.5) < 0.04
    cut = [plan for plan in mixed if plan.centre]
    assert abs(len(cut) / len(mixed) - 0.5) < 0.05
    assert abs(np.var([plan.lam for plan in cut]) - 1 / 12) < 0.01  # Beta(1, 1)
    only = [plan.lam for plan in mixed if not plan.centre]
    assert abs(np.var(only) - 1 / (4 * (2 * 0.8 + 1))) < 0.01  # Beta(a, a)
    assert draw_mix(Mixing(), 0, 0, 0) is None
    assert all(draw_mix(Mixing(cutmix=1.0), 0, 0, n).centre for n in range(20))
    assert not any(draw_mix(Mixing(mixup=1.0), 0, 0, n).centre for n in range(20))


def test_a_draw_is_a_function_of_its_address():
    on = Mixing(mixup=0.8, cutmix=1.0)
    draws = {draw_mix(on, s, e, b) for s in (0, 1) for e in (0, 1) for b in (0, 1)}
    assert len(draws) == 8
    assert draw_mix(on, 1, 1, 0) == draw_mix(on, 1, 1, 0)


def test_what_is_refused():
    images, targets = example(3)
    with pytest.raises(ShapeError, match="even"):
        apply_mix(images, targets, PLANS[0])
    with pytest.raises(ConfigError, match="mixup is -1"):
        Mixing(mixup=-1.0)
    with pytest.raises(ConfigError, match="probabilit"):
        Mixing(probability=2.0)
