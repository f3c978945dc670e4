"""A training with a teacher that was killed loses no answer, and ends as the one that was not."""

import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from patchword.checkpoints import save
from patchword.factory import create_model
from patchword.training.store import HEAD, RECORD
from tests.training.runs import FAST, differences

KILLED = -signal.SIGKILL
BATCH = 48


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A training with an untrained teacher, which disagrees with itself from view to view."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    model = create_model("vit_micro_patch2_8", num_classes=10)
    for head in model.head.values():
        nn.init.normal_(head.weight)
    model.card = replace(model.card, classes=tuple(map(str, range(10))))
    save(model, folder)
    return [*FAST, "--epochs", "1", "--workers", "0", "--teacher", str(folder), "--token"]


def test_kill_9_while_a_teacher_is_asked_and_the_second_run_asks_nothing(ends, tmp_path, words):
    kill = {"step": 8, "seconds": 0.04, "signal": signal.SIGKILL}
    cache, other = (["--cache", str(tmp_path / name)] for name in ("cache", "other"))
    assert ends([*words, *other], tmp_path / "whole", [{}]) == [0]
    assert ends([*words, *cache], tmp_path / "killed", [kill, {}]) == [KILLED, 0]
    before = sorted(file.stat().st_size for file in (tmp_path / "cache").rglob("*.records"))
    assert ends([*words, *cache], tmp_path / "again", [{}]) == [0]
    assert sorted(f.stat().st_size for f in (tmp_path / "cache").rglob("*.records")) == before
    assert differences(tmp_path / "whole", tmp_path / "killed") == []
    assert differences(tmp_path / "whole", tmp_path / "again") == []
    sizes = [file.stat().st_size for file in (tmp_path / "other").rglob("*.records")]
    assert max(sizes) == HEAD + 26 * (RECORD.size + 2 * BATCH)  # each batch once
