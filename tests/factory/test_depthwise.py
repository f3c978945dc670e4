"""Strided convolutions of single channels answer and learn as torch's do, exactly in bfloat16."""

import copy

import pytest
import torch
from torch import nn

from patchword.layers import StridedDepthwise


def plain(own):
    made = nn.Conv2d(own.in_channels, own.out_channels, 3, own.stride, 1, groups=own.groups)
    made.load_state_dict(own.state_dict())
    return made


@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_torch_s(stride):
    torch.manual_seed(0)
    own, x = StridedDepthwise(8, 16, 3, stride), torch.randn(2, 8, 9, 7, requires_grad=True)
    found, wanted = own(x), plain(own)(x)
    assert torch.equal(found, wanted)
    slopes = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, wanted)]
    assert torch.equal(*slopes)


def test_it_learns_bfloat16_in_single_precision():
    torch.manual_seed(0)
    own, x = StridedDepthwise(8, 16, 3, 2), torch.randn(2, 8, 9, 7).bfloat16().float()
    x.requires_grad_()
    wanted = plain(own)(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = own(x)
    assert torch.equal(found, wanted.bfloat16())
    g = torch.randn_like(wanted).bfloat16()
    slope, exact = torch.autograd.grad(found, x, g)[0], torch.autograd.grad(wanted, x, g.float())[0]
    assert torch.equal(slope, exact)
    whole = copy.deepcopy(own).bfloat16()(x.bfloat16())
    assert whole.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own(x), plain(own)(x))
