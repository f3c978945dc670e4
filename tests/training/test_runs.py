"""A run and its directory: continued, finished, repeated; never mixed with another."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from patchword import train
from patchword.cli import main
from patchword.config import dump
from patchword.errors import RunError
from patchword.training import job
from patchword.training.settings import stored
from tests.training.runs import FAST, differences, photos

WORDS = [*FAST, "--epochs", "2"]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run on photos that has a directory and no step yet, and the words to continue it."""
    monkeypatch.setattr(job.Job, "run", lambda self: None)
    data, out = photos(tmp_path / "photos"), tmp_path / "run"
    words = ["train", str(data), "--out", str(out), "--precision", "fp32", "--workers", "0"]
    assert main(words) == 0
    return words


def test_a_finished_run_is_left_as_it_is(whole, capsys):
    before = files(whole(2))
    assert main([*WORDS, "--out", str(whole(2))]) == 0
    assert capsys.readouterr().out == f"{whole(2)} is finished; name another --out to train again\n"
    assert files(whole(2)) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "3"), "with --epochs 2.0, not --epochs 3.0"),
        (("--seed", "1"), "with --seed 0, not --seed 1"),
        (("--model", "vit_mini_patch2_8"), "with no --model, not --model vit_mini_patch2_8"),
        (("--compile",), "with no --compile, not --compile True"),
        (("--batch-size", "47"), "with --batch-size 48, not --batch-size 47"),
    ],
)
def test_another_setting_under_the_same_name_is_refused(whole, capsys, words, said):
    before = files(whole(2))
    assert main([*WORDS, "--out", str(whole(2)), *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert files(whole(2)) == before


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main([*WORDS, "--out", str(tmp_path)]) == 2
    assert "is not empty and holds no run" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")  # another program's
    assert main([*WORDS, "--out", str(tmp_path)]) == 2
    assert "is not empty and holds no run" in capsys.readouterr().err
    assert {path.name for path in files(tmp_path)} == {"letter.txt", "config.json"}


@pytest.mark.parametrize("change", ["one more", "one less", "another name", "another size"])
def test_a_run_is_not_continued_on_other_pictures(begun, capsys, change):
    pictures = sorted((Path(begun[1]) / "train").rglob("*.png"))
    match change:
        case "one more":
            shutil.copy(pictures[0], pictures[0].with_name("new.png"))
        case "one less":
            pictures[0].unlink()
        case "another name":
            pictures[0].rename(pictures[0].with_name("new.png"))
        case "another size":
            shutil.copy(pictures[1], pictures[0])
    assert main(begun) == 2
    assert "training pictures" in (line := capsys.readouterr().err) and "others now" in line
    assert line.count("\n") == 1


def test_it_is_continued_on_the_same_ones(begun):
    assert main(begun) == 0


def test_the_directory_holds_every_setting_as_it_ran(whole):
    written = json.loads((whole(2) / "config.json").read_text(encoding="utf-8"))
    settings = stored(whole(2))
    assert dump(settings) == written["settings"]
    assert settings.recipe.optim.name == "adamw" and settings.steps == 2 * 26
    assert (settings.precision, settings.workers, settings.threads) == ("fp32", 0, 1)
    assert written["classes"] == [str(digit) for digit in range(10)]
    assert written["provenance"]["fingerprint"] == settings.fingerprint
    environment = json.loads((whole(2) / "environment.json").read_text(encoding="utf-8"))
    assert environment["libraries"]["torch"] and environment["command"]


def test_it_is_enough_to_run_it_again(ends, whole, tmp_path):
    words = ["train", "--config", str(whole(2) / "config.json")]
    assert ends(words, tmp_path / "again", [{}]) == [0]
    assert differences(whole(2), tmp_path / "again") == []


def test_what_was_measured_is_not_measured_again(whole, tmp_path, monkeypatch):
    """Even if it was measured as no machine would: 7 steps, in bf16."""
    monkeypatch.setattr(job.Job, "run", lambda self: None)
    monkeypatch.setattr(job, "settle", lambda *rest: pytest.fail("measured again"))
    config = json.loads((whole(2) / "config.json").read_text(encoding="utf-8"))
    config["settings"] |= {"steps": 7, "precision": "bf16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    train(config=tmp_path / "config.json", out=tmp_path / "again")
    found = stored(tmp_path / "again")
    assert (found.steps, found.precision) == (7, "bf16")
    train(config=tmp_path / "again", out=tmp_path / "again")  # continues


def test_a_saved_setting_gives_way_to_one_that_is_said(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(job.Job, "run", lambda self: None)
    train(config=whole(2), out=tmp_path / "other", seed=5, epochs=1.0)
    before, found = stored(whole(2)), stored(tmp_path / "other")
    assert found.request == replace(before.request, seed=5, epochs=1.0)
    assert found.steps == before.steps // 2


def test_an_unfinished_run_answers_nothing(begun, capsys):
    out = begun[3]
    assert main(["evaluate", out]) == 2
    assert "a run has them when it is finished" in capsys.readouterr().err
    with pytest.raises(RunError, match="not data digits"):
        train("digits", out=out)
