"""Fresh weights start as the references' do: every tensor, in mean and deviation.

ViT's are timm's `jax` mode, but for the fused queries, keys and values: the JAX code has three
matrices, each with fans of its own, as timm's `moco` mode has. DeiT's are timm's default, and the
authors' code for its tokens.
"""

from dataclasses import replace

import pytest
import torch

from patchword import models
from patchword.heads.classify import classifier
from patchword.weights.plain import TIMM

pytestmark = pytest.mark.peers

SIGMAS = 5.0
NOISE = 2e-6  # where we start at 0, timm's tokens and MLP biases start at noise of 1e-6
CLASSES = 20


def fresh(name, mode=""):
    """Return a fresh model's tensors, ours and timm's, under our names."""
    import timm

    torch.manual_seed(0)
    config = replace(models.config(name), depth=2)
    ours = classifier(config.build(), CLASSES).state_dict()
    theirs = timm.create_model(
        name, num_classes=CLASSES, depth=2, img_size=config.image_size, weight_init=mode
    )
    return ours, TIMM.load(theirs.state_dict())


def differs(found, wanted):
    """Say how two samples of one distribution differ, beyond what chance allows."""
    if max(t.abs().max() for t in (found, wanted)) < 5 * NOISE:
        return ""
    deviation = max(t.std(correction=0).item() for t in (found, wanted))
    chance = SIGMAS * deviation / min(found.numel(), wanted.numel()) ** 0.5
    means = abs((found.mean() - wanted.mean()).item())
    deviations = abs((found.std(correction=0) - wanted.std(correction=0)).item())
    if means > chance * 2**0.5 + NOISE or deviations > chance + NOISE:
        return f"mean differs by {means:.2g}, deviation by {deviations:.2g}; chance {chance:.2g}"
    return ""


def faults(ours, theirs):
    assert ours.keys() == theirs.keys()
    found = {name: differs(ours[name], theirs[name]) for name in ours}
    return {name: fault for name, fault in found.items() if fault}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_reg4_gap_256"])
def test_a_fresh_vit_is_the_jax_code_s(name):
    ours, theirs = fresh(name, "jax")
    _, fans = fresh(name, "moco")
    qkv = {name: tensor for name, tensor in fans.items() if "qkv" in name}
    assert faults(ours, {**theirs, **qkv}) == {}
    assert faults(ours, theirs).keys() == {n for n in qkv if n.endswith("weight")}
    assert not any(tensor.any() for name, tensor in ours.items() if name.startswith("head."))


def test_layer_scale_starts_where_timm_s_does():
    ours, theirs = fresh("vit_small_patch14_dinov2", "jax")
    scales = [name for name in ours if name.endswith("gamma")]
    assert len(scales) == 4 and all(torch.equal(ours[name], theirs[name]) for name in scales)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_a_fresh_deit_is_timm_s(name):
    ours, theirs = fresh(name)
    token = "backbone.stem.prefix.class_token"  # 0.02 in the authors' code, noise of 1e-6 in timm's
    assert ours[token].std().item() == pytest.approx(0.02, rel=0.2)
    assert faults(ours, {**theirs, token: ours[token]}) == {}
    for readout in ("label", "distillation") if "distilled" in name else ("label",):
        assert ours[f"head.{readout}.weight"].std().item() == pytest.approx(0.02, rel=0.05)
        assert not ours[f"head.{readout}.bias"].any()


def test_another_start_is_noticed():
    ours, _ = fresh("vit_tiny_patch16_224")
    _, theirs = fresh("deit_tiny_patch16_224")
    kinds = {name.split(".")[-2] for name in faults(ours, theirs)}
    assert {"qkv", "proj", "fc1", "fc2", "label"} <= kinds
