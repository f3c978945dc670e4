"""The run directory: what is kept, and that no file in it is ever half there."""

import json

import pytest
import torch

from patchword.engine import run as run_module
from patchword.files import replacing, write_text
from patchword.weights import files as weight_files
from tests.engine.small import opened

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7, dtype=torch.int64)}


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_was_saved_comes_back(tmp_path):
    run = opened(tmp_path)
    run.save(12, TENSORS, {"best": 0.5})
    tensors, notes = run.restore()
    assert notes == {"best": 0.5, "step": 12}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert all(tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)


def test_two_checkpoints_are_kept_and_the_best(tmp_path):
    run = opened(tmp_path)
    assert run.restore() is None
    run.save_best(TENSORS, {})
    for step in (5, 90, 100, 2_000):
        run.save(step, TENSORS, {})
    kept = ["best.safetensors", "step-00000100.safetensors", "step-00002000.safetensors"]
    assert names(tmp_path) == kept
    assert run.restore()[1]["step"] == 2_000


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    run = opened(tmp_path)
    run.save(20, TENSORS, {})
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 1 / step})
    run.log({"step": 20, "top1": 0.5})
    with run.log_file.open("a") as file:
        file.write('{"step": 4')
    kept = [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 0.05}, {"step": 20, "top1": 0.5}]
    assert [row["step"] for row in run.rows()] == [10, 20, 30, 20]
    run.restore()
    assert run.rows() == kept
    lines = run.log_file.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == kept  # the line that was cut off is gone


def test_a_log_without_a_checkpoint_starts_again(tmp_path):
    run = opened(tmp_path)
    run.log({"step": 10, "loss": 1.0})
    assert run.restore() is None
    assert run.rows() == []


def test_a_log_of_zeros_after_a_power_cut_is_read_past(tmp_path):
    run = opened(tmp_path)
    run.log({"step": 10, "loss": 1.0})
    with run.log_file.open("ab") as file:
        file.write(bytes(40))
    assert run.rows() == [{"step": 10, "loss": 1.0}]


def test_a_write_that_fails_leaves_the_old_checkpoint_and_no_rest(tmp_path, monkeypatch):
    run = opened(tmp_path)
    run.save(1, TENSORS, {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    for save in (run.save, lambda *rest: run.save_best(*rest[1:])):
        with pytest.raises(OSError, match="no space"):
            save(1, TENSORS, {})
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_what_a_dead_process_left_half_written_is_passed_over(tmp_path):
    run = opened(tmp_path)
    run.save(1, TENSORS, {})
    part = run.checkpoints / ".step-00000002.safetensors.part"
    part.write_bytes(b"half")
    assert run.restore()[1]["step"] == 1
    run.save(2, TENSORS, {})
    assert run.restore()[1]["step"] == 2
    assert not part.exists()


def test_a_file_appears_in_one_step(tmp_path):
    path = tmp_path / "words.txt"
    write_text(path, "old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["words.txt"]


def test_everything_that_a_run_writes_but_its_log_goes_that_way():
    """The hooks of the kill tests sit there; a plain `open` would be past them."""
    assert weight_files.replacing is replacing
    assert run_module.write_text is write_text
