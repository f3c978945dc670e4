"""Our networks answer as the authors' own code did, on its weights."""

import shutil
from collections import Counter

import pytest
from safetensors.torch import load_file, save_file

from tests.parity import goldens

HAD = (
    "orig_deit_a",
    "orig_deit_distilled_a",
    "orig_vit_jax_a",
    "orig_vit_jax_prelogits_a",
)


@pytest.fixture
def folder(shared):
    return shared / "goldens" / "backbones_orig"


@pytest.mark.parametrize("name", HAD)
def test_a_golden_is_met(folder, name):
    verdict = goldens.check(folder, name)
    assert verdict.outcome == "pass", verdict


def test_every_golden_that_is_read_is_tested(folder):
    outcomes = Counter(goldens.reader(name) is not None for name in goldens.names(folder))
    assert outcomes[True] == len(HAD)
    assert goldens.check(folder, "orig_vit_jax_hybrid_a").outcome == "planned"


def test_a_golden_that_is_missed_is_said_to_fail(folder, tmp_path):
    for path in folder.glob("orig_deit_a.*"):
        shutil.copy(path, tmp_path)
    weights = load_file(tmp_path / "orig_deit_a.safetensors")
    weights["blocks.1.attn.proj.bias"][0] += 0.01
    save_file(weights, tmp_path / "orig_deit_a.safetensors")
    verdict = goldens.check(tmp_path, "orig_deit_a")
    assert verdict.outcome == "fail" and verdict.error > verdict.tolerance
