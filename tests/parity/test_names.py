"""Every name, against timm and transformers: logits, all features, all gradients, parameters."""

from dataclasses import replace

import pytest
import torch

from patchword import models
from tests.parity.compare import TOLERANCE, affordable, compare, errors, referenced
from tests.parity.peers import Ours, Timm, Transformers, images

pytestmark = pytest.mark.peers

QUICK = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch32_384": {"depth": 3},
    "vit_base_patch16_gap_224": {"image_size": (64, 64), "depth": 2},
    "vit_base_patch16_reg4_gap_256": {"image_size": (64, 64), "depth": 2},
    "vit_small_patch14_dinov2": {"image_size": (70, 70), "depth": 3},
    "vit_small_patch14_reg4_dinov2": {"image_size": (70, 70), "depth": 3},
    "vit_giant_patch14_224": {"image_size": (28, 28), "depth": 1},
    "vit_gigantic_patch14_224": {"image_size": (28, 28), "depth": 1},
    "deit_tiny_patch16_224": {"image_size": (96, 96)},
    "deit_tiny_distilled_patch16_224": {"image_size": (96, 96)},
    "deit_base_distilled_patch16_384": {"image_size": (64, 64), "depth": 2},
}


@pytest.mark.parametrize("name", QUICK)
def test_a_small_form_is_its_reference_s(name):
    for row in compare(name, replace(models.config(name), **QUICK[name])):
        assert row.passed, row


@pytest.mark.slow
@pytest.mark.parametrize("name", referenced())
def test_a_model_is_its_reference_s(name):
    for row in compare(name, affordable(name)):
        assert row.passed, row


def test_only_our_own_sizes_have_no_reference():
    ours = ("vit_micro_", "vit_mini_", "vitc_mini_")
    assert all(name.startswith(ours) for name in models.index().keys() - {*referenced()})


@pytest.mark.parametrize("reference", ["timm", "transformers"])
def test_each_head_of_a_distilled_model_is_its_reference_s(reference):
    name = "deit_tiny_distilled_patch16_224"
    config = replace(models.config(name), image_size=(32, 32), depth=1)
    theirs = Timm(name, config)
    ours = Ours(config, theirs.model.state_dict())
    batch = images(config)
    if reference == "timm":
        theirs.model.train().set_distilled_training()
        label, distillation = theirs.model(batch)
    else:
        output = Transformers(config, ours.model.state_dict()).model(batch)
        label, distillation = output.cls_logits, output.distillation_logits
    found = ours.model.heads(batch)
    torch.testing.assert_close(found, {"label": label, "distillation": distillation})


def test_a_moved_bias_is_noticed():
    """Let the comparison itself fail: a single value of a single bias, off by a thousandth."""
    name, config = "vit_tiny_patch16_224", models.config("vit_tiny_patch16_224")
    config = replace(config, image_size=(32, 32), depth=1)
    weights = Timm(name, config).model.state_dict()
    weights = {key: tensor.clone() for key, tensor in weights.items()}
    right = Ours(config, weights).look(images(config))
    weights["blocks.0.mlp.fc1.bias"][7] += 1e-3
    wrong = Ours(config, weights).look(images(config))
    assert errors(right, right) == dict.fromkeys(TOLERANCE, 0.0)
    assert errors(wrong, right)["features"] > TOLERANCE["features"]
