"""Our networks answer as the authors' own code did, on its weights."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.parity import goldens
from tests.parity.keep import KEPT

FOLDERS = ("backbones_orig", "dense_ssl_orig", "multimodal_orig")
SHARED = Path(__file__).parents[3] / "shared" / "goldens"
READ = [
    (folder, name)
    for folder in FOLDERS
    for name in goldens.names(SHARED / folder)
    if goldens.reader(name) is not None
]


@pytest.mark.parametrize("name", goldens.names(KEPT))
def test_a_kept_golden_is_met(name):
    verdict = goldens.check(KEPT, name)
    assert verdict.outcome == "pass", verdict


def test_goldens_are_kept():
    assert len(goldens.names(KEPT)) > 10


@pytest.fixture
def folder(shared):
    return shared / "goldens" / "backbones_orig"


@pytest.mark.parametrize(("folder_name", "name"), READ)
def test_a_golden_is_met(shared, folder_name, name):
    verdict = goldens.check(shared / "goldens" / folder_name, name)
    assert verdict.outcome == ("unofficial" if "unofficial" in name else "pass"), verdict


def test_a_golden_of_no_family_is_unknown_or_planned(tmp_path):
    for name, outcome in (("nobody_a", "unknown"), (f"{goldens.PLANNED[0]}a", "planned")):
        assert goldens.check(tmp_path, name).outcome == outcome


def test_a_golden_that_is_missed_is_said_to_fail(folder, tmp_path):
    for path in folder.glob("orig_deit_a.*"):
        shutil.copy(path, tmp_path)
    weights = load_file(tmp_path / "orig_deit_a.safetensors")
    weights["blocks.1.attn.proj.bias"][0] += 0.01
    save_file(weights, tmp_path / "orig_deit_a.safetensors")
    verdict = goldens.check(tmp_path, "orig_deit_a")
    assert verdict.outcome == "fail" and verdict.error > verdict.tolerance
