"""Attention in bfloat16, forward alone: a softmax that is not shifted, where that loses nothing."""

import pytest
import torch

from patchword.layers import Attend
from patchword.layers.attention import unshifted


@pytest.fixture
def attend():
    part = Attend()
    part.products = True  # as on a processor where these are faster
    return part


def inputs(scale=1.0):
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, 3, 20, 16).transpose(1, 2).contiguous().transpose(1, 2) for _ in "qkv"
    )
    bias = torch.randn(1, 3, 20, 20)
    return [t.bfloat16() for t in (scale * q, k, v, bias)]


def by_formula(q, k, v, bias):
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if bias.dtype == torch.bool:
        shares = scores.masked_fill(~bias, -torch.inf).softmax(-1).nan_to_num(0)
    else:
        shares = (scores + bias.double()).softmax(-1)
    return shares @ v


@torch.inference_mode()
@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_it_is_the_softmax_whatever_the_scores(attend, scale):
    q, k, v, bias = inputs(scale)
    taken = unshifted(attend.scores(q, k, bias), v) is not None
    assert taken == (scale < 100)
    for given in (bias, bias > 0):
        wanted = by_formula(q, k, v, given)
        plain = attend.weights(q, k, v, given) @ v
        worst = (plain.double() - wanted).norm()
        assert (attend(q, k, v, given).double() - wanted).norm() <= 1.5 * worst


@torch.inference_mode()
def test_a_query_that_may_attend_to_nothing_is_answered_by_zeros(attend):
    q, k, v, bias = inputs()
    seen = bias > -torch.inf
    seen[:, :, 4] = False
    out = attend(q, k, v, seen)
    assert torch.isfinite(out).all()
    assert not out[:, :, 4].any()


@torch.inference_mode()
@pytest.mark.parametrize("score", [torch.inf, -torch.inf, torch.nan, 90.0, -90.0])
def test_one_row_beyond_its_range_is_noticed(score):
    scores, v = torch.zeros(1, 1, 4, 5).bfloat16(), torch.randn(1, 1, 5, 2).bfloat16()
    assert unshifted(scores.clone(), v) is not None
    scores[0, 0, 2] = score
    assert unshifted(scores, v) is None


def test_training_and_programs_shift(attend, monkeypatch):
    q, k, v, bias = inputs()
    monkeypatch.setattr("patchword.layers.attention.unshifted", lambda *_: pytest.fail("taken"))
    attend(q.requires_grad_(), k, v, bias).sum().backward()
    assert q.grad is not None
    with torch.no_grad():
        torch.export.export(attend, (q.detach(), k, v, bias))
