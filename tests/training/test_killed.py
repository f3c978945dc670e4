"""A training that was killed, at any moment, ends as the one that was not: bit for bit."""

import random
import signal

import pytest

from tests.training.runs import FAST, differences, ends

KILLED = -signal.SIGKILL


def at_random(kills, steps, seed):
    """Return moments: a step each, in order, and some milliseconds after its checkpoint."""
    draw = random.Random(seed)
    return [
        {"step": step, "seconds": draw.uniform(0, 0.1), "signal": signal.SIGKILL}
        for step in sorted(draw.sample(range(1, steps - 20), kills))
    ]


@pytest.mark.parametrize(
    ("epochs", "kills", "workers"),
    [
        (3, 2, 0),
        pytest.param(10, 10, 0, marks=pytest.mark.slow),
        pytest.param(10, 10, 2, marks=pytest.mark.slow),
    ],
)
def test_kill_9_at_random_moments(tmp_path, epochs, kills, workers):
    words = [*FAST, "--epochs", str(epochs)]
    assert ends([*words, "--workers", "0"], tmp_path / "whole", [{}]) == [0]
    words += ["--workers", str(workers)]
    moments = at_random(kills, steps=26 * epochs, seed=kills + workers)
    found = ends(words, tmp_path / "killed", [*moments, {}])
    assert found == [KILLED] * kills + [0]
    assert differences(tmp_path / "whole", tmp_path / "killed") == []


def test_kill_9_while_each_file_is_put_in_place(tmp_path):
    """Of all files that a run is made of, in the order in which they come to be."""
    words = [*FAST, "--epochs", "1"]
    assert ends(words, tmp_path / "whole", [{}]) == [0]
    files = ["environment.json", "config.json", "step-", "best.", "step-"]
    files += ["scores.json", "report.html", "model.safetensors"]
    moments = [
        {"file": file, "number": 1 + (file == "step-"), "at": at}
        for file in files
        for at in ("inside", "before", "after")
    ]
    found = ends(words, tmp_path / "killed", [*moments, {}])
    assert found == [KILLED] * len(moments) + [0]
    assert differences(tmp_path / "whole", tmp_path / "killed") == []
    parts = [path.name for path in (tmp_path / "killed").rglob("*.part")]
    assert parts == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_an_interrupted_training_is_saved_where_it_was(tmp_path, number):
    words = [*FAST, "--epochs", "2"]
    assert ends(words, tmp_path / "whole", [{}]) == [0]
    hit = {"step": 5, "seconds": 0.05, "signal": number}
    assert ends(words, tmp_path / "hit", [hit, {}]) == [130, 0]
    assert differences(tmp_path / "whole", tmp_path / "hit") == []
