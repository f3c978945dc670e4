"""What a network looks at and has learnt, against computations that are written out."""

from dataclasses import replace

import pytest
import torch

from patchword.features import Backbone, Features
from patchword.inspection.attention import looked_at
from patchword.inspection.stem import filters, position_similarity
from patchword.inspection.watch import record
from patchword.layers import Attend, Attention
from patchword.models.vit import ViTConfig
from tests.contract.tiny import TINY as TINIES
from tests.contract.tiny import made

TINY = ViTConfig(image_size=(8, 12), patch_size=4, embed_dim=16, depth=3, num_heads=4)
WIDE = replace(TINY, embed_dim=64)
CELLS = (2, 3)


def perturbed(config):
    """Return a network of which no weight is zero."""
    torch.manual_seed(0)
    backbone = config.build().eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return backbone


def images(count=2):
    return torch.randn(count, 3, 8, 12, generator=torch.Generator().manual_seed(1))


def slow_weights(attention, x):
    """Work out the attention of one layer, query by query and head by head."""
    q, k, _ = attention.qkv(x).chunk(3, dim=-1)
    width = x.shape[-1] // attention.num_heads
    count = x.shape[1]
    found = torch.empty(len(x), attention.num_heads, count, count)
    for image in range(len(x)):
        for head in range(attention.num_heads):
            part = slice(head * width, (head + 1) * width)
            for query in range(count):
                scores = k[image, :, part] @ q[image, query, part] / width**0.5
                found[image, head, query] = scores.exp() / scores.exp().sum()
    return found


@torch.no_grad()
def test_recorded_maps_are_those_of_a_slow_computation():
    backbone = perturbed(TINY)
    inputs = {}
    for name, module in backbone.named_modules():
        if isinstance(module, Attention):
            keep = lambda m, i, name=name: inputs.update({f"{name}.attend": (m, i[0])})  # noqa: E731
            module.register_forward_pre_hook(keep)
    with record(backbone) as seen:
        backbone(images(), taps=("final",))
    assert list(seen) == list(inputs) == [f"blocks.{i}.attn.attend" for i in range(3)]
    for name, (attention, x) in inputs.items():
        torch.testing.assert_close(seen[name], slow_weights(attention, x), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_recording_changes_no_answer_and_leaves_nothing_behind():
    backbone = perturbed(TINY)
    before = backbone(images()).pooled
    with record(backbone) as seen:
        assert torch.equal(backbone(images()).pooled, before)
    assert seen["blocks.2.attn.attend"].shape == (2, 4, 1, 7)  # the class token's row alone
    assert not any(module._forward_hooks for module in backbone.modules())
    with pytest.raises(KeyError), record(backbone):
        raise KeyError
    assert not any(module._forward_hooks for module in backbone.modules())


def test_weights_follow_the_bias():
    attend = Attend()
    q, k = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    v = torch.eye(5).expand(1, 2, 5, 5)  # then the output is the weights
    bias = torch.randn(2, 3, 5)
    with record(attend) as seen:
        output = attend(q, k, v, bias)
    torch.testing.assert_close(seen[""], output)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, registers=2),
        replace(TINY, prefix=("class", "distillation")),
        replace(TINY, prefix=(), pool="mean"),
    ],
    ids=["class token", "registers", "distilled", "mean"],
)
@torch.no_grad()
def test_each_head_looks_at_the_cells_and_that_sums_to_one(config):
    backbone = perturbed(config)
    found = looked_at(backbone, images())
    assert found.shape == (2, 4, *CELLS)
    assert found.min() > 0
    torch.testing.assert_close(found.sum(dim=(2, 3)), torch.ones(2, 4))
    with record(backbone) as seen:
        backbone(images(), taps=("final",))
    weights = seen["blocks.2.attn.attend"]
    prefix, read = backbone.stem.count, len(config.prefix)
    cells = (weights[:, :, :read] if read else weights).mean(dim=2)[..., prefix:]
    expected = cells / cells.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(found.flatten(2), expected)


def test_filters_are_orthonormal_and_the_strongest_come_first():
    backbone = perturbed(WIDE)
    found = filters(backbone, count=10)
    assert found.shape == (10, 3, 4, 4)
    flat = found.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(10), rtol=0, atol=1e-5)
    weight = backbone.stem.patch_embed.proj.weight.detach().flatten(1)
    spread = ((weight - weight.mean(dim=0)) @ flat.T).var(dim=0)
    assert torch.equal(spread, spread.sort(descending=True).values)
    total = (weight - weight.mean(dim=0)).var(dim=0).sum()
    every = filters(backbone, count=48).flatten(1)
    everything = ((weight - weight.mean(dim=0)) @ every.T).var(dim=0).sum()
    torch.testing.assert_close(everything, total)


@pytest.mark.parametrize("position", ["learned", "learned_patches", "learned_2d", "sincos_2d"])
def test_each_kind_of_position_is_like_itself(position):
    backbone = perturbed(replace(WIDE, position=position, registers=1))
    found = position_similarity(backbone)
    assert found.shape == (*CELLS, *CELLS)
    flat = found.reshape(6, 6)
    torch.testing.assert_close(flat.diagonal(), torch.ones(6))
    torch.testing.assert_close(flat, flat.T)
    assert flat.abs().max() < 1 + 1e-5
    places = backbone.stem.position
    table = places(CELLS)[0, places.prefix :].detach()
    first, other = table[1] - table.mean(dim=0), table[5] - table.mean(dim=0)
    cosine = first @ other / (first.norm() * other.norm())
    torch.testing.assert_close(found[0, 1, 1, 2], cosine)


def test_row_and_column_positions_are_alike_along_their_lines():
    found = position_similarity(perturbed(replace(WIDE, position="learned_2d")))
    assert found[0, 0, 0, 1] != found[0, 0, 1, 2]
    torch.testing.assert_close(found[0, 0, 0, 1], found[1, 1, 1, 0])


class Bare(Backbone):
    """A backbone that cuts no patches and has no positions."""

    def forward(self, images, taps=()):
        return Features(images.mean(dim=(2, 3)), ())

    def spine(self):
        return []


@pytest.mark.parametrize("name", ["resnet", "pvtv2", "cvt", "hybrid"])
def test_a_convolutional_stem_has_filters_too(name):
    config = next(iter(TINIES[name].values()))
    found = filters(made(config), count=4)
    assert found.shape[:2] == (4, config.in_chans) and found.shape[2] > 1
    flat = found.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(4), rtol=0, atol=1e-5)


def test_what_is_not_there_is_none():
    assert filters(Bare()) is None
    assert position_similarity(Bare()) is None
    assert position_similarity(perturbed(replace(TINY, position="none"))) is None
