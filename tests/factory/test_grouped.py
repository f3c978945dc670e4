"""Group norm, where it goes ways of its own, is torch's."""

import copy

import pytest
import torch
from torch import Tensor, nn

from patchword.layers import GroupNorm
from tests.parity.compare import relative

TYPES = (torch.float32, torch.bfloat16)
LAST = torch.channels_last


def made(groups: int, dim: int) -> GroupNorm:
    """Return a norm whose weights are not those it starts with."""
    torch.manual_seed(0)
    norm = GroupNorm(groups, dim)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@torch.inference_mode()
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_groups_of_small_maps_are_normed_as_torch_norms_them(dtype):
    mine = made(8, 64).to(dtype)
    for centre in (0.0, 20.0):
        x = (torch.randn(3, 64, 7, 5) + centre).to(dtype).contiguous(memory_format=LAST)
        wanted = copy.deepcopy(mine).double()(x.double())
        worst = relative(nn.GroupNorm.forward(mine, x).double(), wanted)
        found = mine(x)
        assert mine.slow(x) and found.is_contiguous(memory_format=LAST)
        assert relative(found.double(), wanted) <= 1.5 * worst + 1e-6
    wide, plain, large = (
        torch.randn(2, 256, 7, 5),
        torch.randn(2, 64, 7, 5),
        torch.randn(2, 64, 32, 32),
    )
    assert not GroupNorm(8, 256).slow(wide.contiguous(memory_format=LAST))
    assert not mine.slow(plain) and not mine.slow(large.contiguous(memory_format=LAST))


def learnt(norm: nn.Module, x: Tensor, slope: Tensor) -> list[Tensor]:
    """Return the map, and the gradients of x and of the weights."""
    x = x.detach().requires_grad_()
    y = norm(x)
    y.backward(slope.to(y.dtype))
    assert x.grad is not None
    found = [y.detach(), x.grad, *(p.grad for p in norm.parameters() if p.grad is not None)]
    norm.zero_grad()
    return found


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("side", [20, 40])
def test_groups_are_learnt_as_torch_learns_them(dtype, side):
    """Within the rounding of bfloat16, of the map and of a sum of two; weights far below it."""
    mine = made(16, 192).to(dtype)
    x = (torch.randn(3, 192, side, side) + 2.0).bfloat16().contiguous(memory_format=LAST)
    slope = (torch.randn(3, 192, side, side) + x.float()).bfloat16()  # of either layout
    assert mine.slow(x.requires_grad_())
    wanted = learnt(copy.deepcopy(mine).double(), x.double(), slope)
    found = learnt(mine, x, slope)
    plain = learnt(torchs(mine), x, slope)
    assert found[1].is_contiguous(memory_format=LAST)
    assert [t.dtype for t in found] == [t.dtype for t in plain]
    for ours, theirs, exact in zip(found, plain, wanted, strict=True):
        assert relative(ours.double(), exact) <= 2 * relative(theirs.double(), exact) + 1e-6


def torchs(norm: GroupNorm) -> nn.GroupNorm:
    """Return torch's own norm, with the same weights."""
    plain = nn.GroupNorm(norm.num_groups, norm.num_channels, norm.eps)
    plain.load_state_dict(norm.state_dict())
    return plain.to(norm.weight.dtype)


def test_groups_keep_torchs_way_where_it_is_as_fast(monkeypatch):
    mine, x = made(16, 192), torch.randn(2, 192, 24, 24, requires_grad=True)
    last = x.contiguous(memory_format=LAST)
    assert not mine.slow(last)  # single precision
    assert not mine.slow(x.bfloat16()) and not mine.slow(last[:, :, :8, :8].bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert mine.slow(last.bfloat16()) and not mine.slow(last)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert not mine.slow(last.bfloat16())


def test_second_gradients_are_refused_not_wrong():
    mine, x = made(16, 192), torch.randn(2, 192, 24, 24).bfloat16()
    x = x.contiguous(memory_format=LAST).requires_grad_()
    with pytest.raises(RuntimeError, match="no second gradients"):
        torch.autograd.grad(mine(x).sum(), x, create_graph=True)
