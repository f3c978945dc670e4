"""The form for inference answers as the plain network does, and steps aside where it cannot."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from patchword.heads.classify import classifier
from patchword.layers import (
    Attention,
    Block,
    LayerScale,
    Mlp,
    OffsetBias,
    QuickGELU,
    Residual,
    fold,
    for_inference,
    packed,
    pieces,
)
from patchword.layers.inference import ending
from patchword.layers.packed import (
    ACTS,
    PackedConv,
    PackedLinear,
    PackedResidual,
    packing_wins,
)
from patchword.models.pvtv2 import ConvMlp
from patchword.models.resnet import basic
from patchword.models.senet import SENetConfig, excited
from patchword.models.tnt import SqueezedMlp
from patchword.models.xcit import ClassBlock, XCiTBlock, XCiTConfig
from tests.contract.tiny import CONFIGS, images, made
from tests.parity.compare import relative

TYPES = (torch.float32, torch.bfloat16)
ABLE = torch.backends.mkldnn.is_available()
LAST = torch.channels_last


@pytest.fixture(autouse=True)
def _packing(monkeypatch):
    """Pack whatever can be, however fast that is here."""
    monkeypatch.setattr(packed, "packing_wins", lambda dtype: ABLE and dtype in TYPES)


@torch.inference_mode()
@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_answers_as_before(name, monkeypatch):
    config = CONFIGS[name]
    torch.manual_seed(1)
    plain = classifier(made(config), 5).eval()
    for part in plain.head.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight)
    ready, batch = for_inference(copy.deepcopy(plain)), images(config, count=24)
    few = batch[:6]
    wanted = plain(few)
    for given in (few, few.contiguous(memory_format=LAST)):
        assert relative(ready(given), wanted) < 1e-5
    wanted = plain(batch)
    with torch.autocast("cpu", torch.bfloat16):
        cast, found = [f(batch) for f in (plain, fold(copy.deepcopy(plain)))], ready(batch)
    assert found.dtype == cast[0].dtype
    assert (found - wanted).norm() < 1.5 * max((y - wanted).norm() for y in cast)
    monkeypatch.setattr(pieces, "CACHE", 1 << 12)  # bytes, as if all that is held were large
    assert relative(ready(few), wanted[:6]) < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(ready(few), found[:6]) < 3e-2


MADE = [nn.GELU(), nn.GELU("tanh"), nn.Hardswish(), nn.ReLU(), nn.SiLU()]


@torch.inference_mode()
@pytest.mark.parametrize("act", MADE, ids=repr)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_an_activation_is_taken_in_the_product(act, dtype):
    torch.manual_seed(0)
    for own, x in (
        (nn.Linear(48, 80), torch.randn(3, 7, 48)),
        (nn.Linear(48, 80, bias=False), torch.randn(5, 48)),
        (
            nn.Conv2d(16, 32, 3, 2, 1, groups=4),
            torch.randn(2, 16, 9, 8).contiguous(memory_format=LAST),
        ),
    ):
        plain = nn.Sequential(own, act).to(dtype)
        x = 3 * x.to(dtype)
        ready = for_inference(copy.deepcopy(plain))
        assert isinstance(ready[0], PackedLinear | PackedConv)
        assert isinstance(ready[1], nn.Identity)
        wanted = copy.deepcopy(plain).double()(x.double())
        worst = relative(plain(x).double(), wanted)
        assert relative(ready(x).double(), wanted) <= 2 * worst + 1e-6
        assert (ready[0].kept._made is not None) == ABLE
    assert {type(a) for a in MADE} == set(ACTS)


def test_so_it_is_after_a_map_between_others():
    ready = for_inference(ConvMlp(8, 16, relu=False, drop=0.0).eval())
    assert isinstance(ready.dwconv, PackedConv) and type(ready.dwconv.act) is nn.GELU
    assert type(ready.act) is nn.Identity and ready.fc1.act is None


@torch.inference_mode()
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_sum_is_taken_in_the_last_convolution(dtype):
    torch.manual_seed(0)
    block = basic(16, 32, 2, 0.0).eval().to(dtype)
    x = 3 * torch.randn(2, 16, 9, 8).to(dtype)
    wanted = copy.deepcopy(block).double()(x.double())
    ready = for_inference(nn.Sequential(copy.deepcopy(block)))[0]
    assert isinstance(ready, PackedResidual) and isinstance(ready.last, PackedConv)
    for given in (x, x.contiguous(memory_format=LAST)):
        worst = relative(block(given).double(), wanted)
        assert relative(ready(given).double(), wanted) <= 2 * worst + 1e-6
    gated = excited(SENetConfig(block="basic"), 16, 16, 1, 0.0)
    assert type(for_inference(nn.Sequential(gated).eval())[0]) is Residual


@torch.inference_mode()
def test_a_quick_gelu_becomes_a_silu():
    torch.manual_seed(0)
    plain, x = Mlp(32, 64, act=QuickGELU).eval(), 3 * torch.randn(2, 5, 32)
    wanted = plain(x)
    ready = for_inference(plain)
    assert type(ready.fc1.act) is nn.SiLU and type(ready.act) is nn.Identity
    assert relative(ready(x), wanted) < 1e-6


def scaled(block):
    torch.manual_seed(0)
    for part in block.modules():
        if isinstance(part, LayerScale):
            nn.init.normal_(part.gamma)
    return block.double().eval()


@torch.inference_mode()
def test_scales_of_branches_go_into_their_last_maps():
    config = XCiTConfig(embed_dim=32, num_heads=4)
    for block, left in (
        (Block(32, Attention(32, 4), Mlp(32, 64), layer_scale=0.1), 0),
        (XCiTBlock(config), 0),
        (ClassBlock(config), 1),
    ):
        plain, x = scaled(block), torch.randn(2, 10, 32).double()
        wanted = plain(x, (3, 3)) if left else plain(x[:, 1:], (3, 3))
        ready = for_inference(plain)
        found = ready(x, (3, 3)) if left else ready(x[:, 1:], (3, 3))
        assert relative(found, wanted) < 1e-12
        assert sum(isinstance(part, LayerScale) for part in ready.modules()) == left
    assert ending(SqueezedMlp(32, 64)) is None


def test_an_mlp_takes_large_batches_in_pieces(monkeypatch):
    ready = for_inference(nn.ModuleList([Mlp(32, 64).eval()]))[0]
    x = torch.randn(6, 5, 32)
    with torch.no_grad():
        wanted = ready(x)
    asked = Mock(wraps=ready.own.forward)
    ready.own.forward = asked
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(pieces, "CACHE", 2 * 5 * 64 * 4)  # bytes of two images' hidden numbers
    with torch.no_grad():
        assert relative(ready(x), wanted) < 1e-6
        assert asked.call_count == 3
        ready(x[:2])
        assert asked.call_count == 4
    ready(x)
    assert asked.call_count == 5


def test_what_stands_still_is_asked_once():
    bias = OffsetBias((3, 2), 4)
    asked = Mock(wraps=bias.forward)
    bias.forward = asked
    kept = for_inference(nn.ModuleDict({"bias": bias}))["bias"]
    with torch.no_grad():
        first = kept()
        assert torch.equal(kept(), first) and asked.call_count == 1
        assert kept((2, 2)).shape == (4, 4, 4) and kept.reach == (3, 2)
        bias.table *= 2
        assert torch.equal(kept(), 2 * first) and asked.call_count == 3
        assert kept.double()().dtype == torch.float64
    assert kept().requires_grad


def mlp():
    torch.manual_seed(0)
    return for_inference(Mlp(32, 64).eval()), torch.randn(2, 5, 32)


def test_its_parameters_are_the_plain_ones():
    plain = Mlp(32, 64).eval()
    mine, names = [*plain.parameters()], [*plain.state_dict()]
    ready = for_inference(plain)
    assert [*ready.state_dict()] == names
    assert all(a is b for a, b in zip(ready.parameters(), mine, strict=True))


def test_weights_that_change_are_packed_anew():
    ready, x = mlp()
    with torch.inference_mode():
        before = ready(x)
    with torch.no_grad():
        ready.fc1.weight *= 2
        plain = ready.fc2(nn.functional.gelu(x @ ready.fc1.weight.T + ready.fc1.bias))
        assert not torch.equal(ready(x), before)
        torch.testing.assert_close(ready(x), plain)
        half = ready.bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert relative(half.float(), plain) < 2e-2


def test_copies_answer_alike_and_are_apart():
    ready, x = mlp()
    with torch.no_grad():
        wanted = ready(x)
        for copied in (copy.deepcopy(ready), pickle.loads(pickle.dumps(ready))):
            assert torch.equal(copied(x), wanted)
            copied.fc1.weight.zero_()
        assert torch.equal(ready(x), wanted)


def test_threads_share_it():
    ready, x = mlp()

    def answer(index):
        dtype = TYPES[index % 2]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bool(index % 2)):
            return dtype, ready(x)

    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(answer, range(40))]
    for dtype in TYPES:
        first, *others = (y for kind, y in found if kind == dtype)
        assert all(torch.equal(y, first) for y in others)


def test_gradients_are_those_of_plain_maps():
    ready, x = mlp()
    x.requires_grad_()
    ready(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None for p in ready.parameters())
    assert ready.fc1.kept._made is None


def test_it_is_exported_as_the_plain_network():
    ready, x = mlp()
    with torch.no_grad():
        wanted = ready(x)
        program = torch.export.export(ready, (x,))
        assert not [n for n in program.graph.nodes if "mkldnn" in str(n.target)]
        torch.testing.assert_close(program.module()(x), wanted)


@torch.inference_mode()
def test_what_cannot_be_packed_computes_as_it_is():
    ready, x = mlp()
    assert ready.double()(x.double()).dtype == torch.float64
    assert ready.float()(x[:0]).shape == x[:0].shape
    assert ready.fc2(ready.fc1(x[0, 0])).shape == (32,)
    reflecting = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
    assert packed.packed(reflecting) is reflecting


def test_packing_is_used_where_it_was_measured_to_win(monkeypatch):
    def clock(plain, laid_out):
        spent, now = [plain, laid_out], 0.0
        for call in count():
            yield now
            now += spent[call // 2 % 2] if call % 2 == 0 else 0

    for spent, wins in (((2, 1), True), ((1, 2), False)):
        ticks = clock(*spent)
        monkeypatch.setattr(packed.time, "perf_counter", lambda ticks=ticks: next(ticks))
        assert packing_wins.__wrapped__(torch.float32) == (wins and ABLE)
    assert not packing_wins(torch.float16)


def test_another_build_of_torch_packs_nothing(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not packing_wins.__wrapped__(torch.float32)
