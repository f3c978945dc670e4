"""Attention in bfloat16, forward alone: a softmax that is not shifted, where that loses nothing."""

from unittest.mock import Mock

import pytest
import torch

from patchword.layers import Attend
from patchword.layers.attention import softmax, unshifted
from tests.parity.compare import relative


@pytest.fixture
def attend():
    part = Attend()
    part.products = True  # as on a processor where these are faster
    return part


def inputs(scale=1.0, channels=16):
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, 3, 20, channels).transpose(1, 2).contiguous().transpose(1, 2) for _ in "qkv"
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
@pytest.mark.parametrize("channels", [16, 6])
@pytest.mark.parametrize("scale", [1.0, 5.0, 1000.0])
def test_it_is_the_softmax_whatever_the_scores(attend, scale, channels):
    q, k, v, bias = inputs(scale, channels)
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


@torch.inference_mode()
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_large_batches_are_taken_in_pieces(attend, scale, monkeypatch):
    q, k, v, bias = inputs(scale)
    whole = attend(q, k, v, bias)
    asked = Mock(wraps=unshifted)
    monkeypatch.setattr("patchword.layers.attention.unshifted", asked)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("patchword.layers.pieces.CACHE", 800)  # of 2 x 3 x 20 x 20 numbers
    assert relative(attend(q, k, v, bias).float(), whole.float()) < 1e-2
    assert asked.call_count == (2 if scale < 100 else 1)
    own = bias * torch.tensor([1, -1]).view(2, 1, 1, 1)
    asked.reset_mock()
    attend(q, k, v, own)
    assert asked.call_count == 1  # a bias of each image's own


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_scale_can_be_another(attend, dtype):
    attend.scale = 0.5  # twice that of sixteen channels
    q, k, v, bias = (t.to(dtype) for t in inputs())
    wanted = by_formula(2 * q, k, v, bias)
    assert relative(attend(q, k, v, bias).double(), wanted) < 3e-2
    assert relative(attend.weights(q, k, v, bias).double() @ v.double(), wanted) < 3e-2


def test_training_and_programs_shift(attend, monkeypatch):
    q, k, v, bias = inputs()
    monkeypatch.setattr("patchword.layers.attention.unshifted", lambda *_: pytest.fail("taken"))
    attend(q.requires_grad_(), k, v, bias).sum().backward()
    assert q.grad is not None
    with torch.no_grad():
        torch.export.export(attend, (q.detach(), k, v, bias))


def test_rows_of_few_keys_are_shared_out_in_single_precision(attend):
    q, k, v, bias = inputs()
    scores = attend.scores(q, k, bias).requires_grad_()
    found = softmax(scores)
    g = torch.randn_like(found)
    slope = torch.autograd.grad(found, scores, g)[0]
    single = scores.detach().float().requires_grad_()
    wanted = single.softmax(-1)
    assert torch.equal(found, wanted.bfloat16())
    exact = torch.autograd.grad(wanted, single, g.float())[0]
    assert torch.equal(slope, exact.bfloat16())
    assert torch.equal(attend.weights(q, k, v, bias), found)
