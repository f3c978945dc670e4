"""Every name, against its live references: logits, all levels, all gradients, parameters."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from patchword import models
from tests.families import FAMILIES, vit
from tests.parity.compare import (
    TOLERANCE,
    affordable,
    compare,
    errors,
    loaded,
    referenced,
    sight,
)
from tests.parity.peer import CLASSES, images, perturbed

pytestmark = pytest.mark.peers
HERE = Path(__file__).parent

QUICK = {name: change for family in FAMILIES.values() for name, change in family.QUICK.items()}


@pytest.mark.parametrize("name", QUICK)
def test_a_small_form_is_its_reference_s(name):
    rows = [*compare(name, replace(models.config(name), **QUICK[name]))]
    assert rows and all(row.passed for row in rows), rows


@pytest.mark.slow
@pytest.mark.parametrize("name", models.index())
def test_a_model_is_its_reference_s(name):
    if name not in referenced():
        return  # its family's golden, or its plain form, is held elsewhere
    for row in compare(name, affordable(name)):
        assert row.passed, row


def test_every_family_is_held_against_something():
    """Live references, goldens, or a plain form of its formulas."""
    plain = {path.stem.removeprefix("test_plain_") for path in HERE.glob("test_plain_*.py")}
    silent = [
        name
        for name, family in FAMILIES.items()
        if not (family.GOLDENS or family.QUICK or name in plain)
        or not {*family.QUICK} <= {*models.index()}
    ]
    assert silent == []


@pytest.mark.parametrize("reference", ["timm", "transformers"])
def test_each_head_of_a_distilled_model_is_its_reference_s(reference):
    name = "deit_tiny_distilled_patch16_224"
    config = replace(models.config(name), image_size=(32, 32), depth=1)
    if reference == "timm":
        peer = vit.timm_s(name, config, CLASSES)
    else:
        peer = vit.transformers_s(config, CLASSES)
    theirs = perturbed(peer.model, name).eval()
    ours = loaded(name, config, peer.format, theirs.state_dict())
    batch = images(config)
    if reference == "timm":
        theirs.train().set_distilled_training()
        label, distillation = theirs(batch)
    else:
        output = theirs(batch)
        label, distillation = output.cls_logits, output.distillation_logits
    torch.testing.assert_close(ours.heads(batch), {"label": label, "distillation": distillation})


def test_a_moved_bias_is_noticed():
    """Let the comparison itself fail: a single value of a single bias, off by a thousandth."""
    name, config = "vit_tiny_patch16_224", models.config("vit_tiny_patch16_224")
    config = replace(config, image_size=(32, 32), depth=1)
    theirs = perturbed(vit.timm_s(name, config, CLASSES).model, name)
    weights = {key: tensor.clone() for key, tensor in theirs.state_dict().items()}

    def look():
        return sight(loaded(name, config, "timm", weights), images(config))

    right = look()
    weights["blocks.0.mlp.fc1.bias"][7] += 1e-3
    wrong = look()
    assert errors(right, right) == dict.fromkeys(TOLERANCE, 0.0)
    assert errors(wrong, right)["features"] > TOLERANCE["features"]
