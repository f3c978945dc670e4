"""Attention is recorded wherever there is any, from outside, and changes nothing."""

from pathlib import Path

import torch

import patchword
from patchword.inspection.watch import record
from patchword.layers import Attend, Operator
from tests.contract.tiny import images


def operators(backbone):
    return {name: part for name, part in backbone.named_modules() if isinstance(part, Operator)}


def test_recording_changes_no_bit(config, backbone):
    batch, first = images(config), backbone.levels[0].name
    plain = backbone(batch, taps=(first, "final"))
    with record(backbone) as seen:
        watched = backbone(batch, taps=(first, "final"))
    assert torch.equal(watched.pooled, plain.pooled)
    assert all(torch.equal(a.map, b.map) for a, b in zip(watched.taps, plain.taps, strict=True))
    assert seen.keys() == operators(backbone).keys()
    assert not any(part._forward_hooks for part in backbone.modules())


def test_the_weights_are_what_the_values_were_mixed_with(config, backbone):
    mixed = {}
    for name, part in operators(backbone).items():
        part.register_forward_hook(
            lambda part, inputs, out, name=name: mixed.update({name: (part, inputs[2], out)})
        )
    with record(backbone) as seen:
        backbone(images(config))
    assert seen.keys() == mixed.keys()
    for name, weights in seen.items():
        part, values, output = mixed[name]
        assert weights.ndim == 4 and torch.isfinite(weights).all()
        if part.linear:
            atol = 1e-5 * max(1, output.abs().max().item())
            torch.testing.assert_close(weights @ values, output, rtol=1e-4, atol=atol)
        if isinstance(part, Attend):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_dot_product_attention_is_computed_in_one_place():
    root = Path(patchword.__file__).parent
    fused = [p for p in root.rglob("*.py") if "scaled_dot_product_attention" in p.read_text()]
    assert [path.relative_to(root).as_posix() for path in fused] == ["layers/attention.py"]
