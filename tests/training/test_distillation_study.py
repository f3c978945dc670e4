"""The study of teachers: it gets through, stops, goes on after a kill, and trains no cell twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import cells, distillation, distillation_page
from tests.training.runs import ONE_THREAD

ROOT = Path(__file__).parents[2]
SMALL = {
    "RATES": (5e-3,),
    "SOFT": ((0.5, 3),),
    "HARD": (0.5,),
    "TUNING_RATES": (1e-3,),
    "CALIBRATION": 3,
    "CONVNET": (),
}
DIGITS = ("digits", "digits", "", ("deit_micro_patch2_8",), 8, (8,), 12)
KILLED = """
import sys
from tests.training.test_distillation_study import distillation, small
for name, value in small({methods}).items():
    setattr(distillation, name, value)
distillation.main(sys.argv[1:])
"""


def small(methods):
    """Return what makes the study small, by the names in its module."""
    field = distillation.Field(*DIGITS, methods=tuple(methods), convnet="vit_micro_patch2_8")
    return {**SMALL, "FIELDS": (field,)}


def killed_within(words, methods, cell):
    """Run a study in a process of its own, and kill it without warning while it is at a cell."""
    paths = os.pathsep.join((ONE_THREAD["PYTHONPATH"], str(ROOT)))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(methods=methods), *words],
        env={**ONE_THREAD, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not (cell / "config.json").exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def finished(out):
    return {path.parent: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}


@pytest.mark.parametrize(
    ("methods", "seeds"),
    [(("none", "token"), 1), pytest.param(distillation.METHODS, 3, marks=pytest.mark.slow)],
)
def test_a_killed_study_goes_on_and_ends_with_its_page(tmp_path, monkeypatch, methods, seeds):
    for name, value in small(methods).items():
        monkeypatch.setattr(distillation, name, value)
    out = tmp_path / "study"
    words = ["--steps", "4", "--seeds", str(seeds), "--out", str(out)]
    assert distillation.main([*words, "--minutes", "0"]) == 0
    assert json.loads((out / "results.json").read_text())["cells"] == {}
    killed_within(words, methods, out / "digits" / "choose" / "augmentation" / "mixed")
    before = finished(out)
    assert before
    assert distillation.main(words) == 0
    assert before.items() <= finished(out).items()  # no finished cell was trained again
    found = json.loads((out / "results.json").read_text())
    taught = [f"digits/{method}/{seed}" for method in methods for seed in range(seeds)]
    assert found["whole"] and set(taught) < set(found["cells"])
    assert sum(name.endswith("12 pixels") for name in found["cells"]) == 2 * seeds
    assert {cell["steps"] for name, cell in found["cells"].items() if "cal" not in name} == {4}
    drawn = (out / "page.md").read_text()
    for title in (
        "The teachers themselves",
        "Whether the paper's order holds",
        "Chosen on held-out",
    ):
        assert title in drawn
    with pytest.raises(SystemExit, match="was begun with"):
        distillation.main(["--steps", "5", *words[2:]])


def test_differences_are_paired_and_may_not_be_resolved():
    ours, theirs = [0.5, 0.70, 0.72, 0.74], [0.4, 0.69, 0.71, 0.73]
    assert distillation_page.difference(ours, theirs)[1] == "not resolved"
    assert distillation_page.difference([0.75], [0.5]) == ("+25.00", "not resolved: one seed")
    middle, half = distillation_page.paired([0.1, 0.2, 0.6], [0.0, 0.0, 0.0])
    assert middle == pytest.approx(0.3)
    assert half == pytest.approx(4.302653 * 0.2645751 / 3**0.5, rel=1e-5)  # t of two degrees
    assert distillation_page.difference([0.91, 0.92, 0.93], [0.1, 0.11, 0.12])[1] == "higher"
    assert distillation_page.difference([0.1, 0.11, 0.12], [0.91, 0.92, 0.93])[1] == "lower"


def test_a_kept_cell_is_trained_again_only_for_its_weights(tmp_path, monkeypatch):
    trained = []

    def train(data, *, out, **words):
        trained.append(out.name)
        out.mkdir(parents=True)
        recipe = {"batch_size": 2}
        request = {"seed": words["seed"]}
        settings = {
            "steps": 1,
            "precision": "fp32",
            "threads": 1,
            "recipe": recipe,
            "request": request,
        }
        (out / "config.json").write_text(json.dumps({"settings": settings}))
        row = {"loss": 1.0, "seconds": 1.0, "waiting": 0.0, "images_per_second": 2.0}
        (out / "log.jsonl").write_text(json.dumps(row) + "\n")
        (out / "model.safetensors").touch()
        (out / "report.html").touch()
        return SimpleNamespace(scores={})

    def study(name, kept):
        made = cells.Study(tmp_path / name, kept=kept)
        monkeypatch.chdir(tmp_path)
        for cell, words in {"teacher": {}, "other": {}, "pupil": {"lr": rate}}.items():
            lesson = {"teacher": made.path("teacher")} if cell == "pupil" else {}
            made.cell(cell, "digits", {"cache": "answers"}, words, lesson)
        return made.cells

    monkeypatch.setattr(cells, "train", train)
    rate = 0.1
    first = study("out", {})
    assert trained == ["teacher", "other", "pupil"]
    shutil.rmtree(tmp_path / "out")
    assert study("out", first) == first and trained[3:] == []
    rate = 0.2  # another pupil, of the same teacher
    study("out", first)
    assert trained[3:] == ["teacher", "pupil"]
