"""A training that was killed, at any moment, ends as the one that was not: bit for bit."""

import random
import signal

import pytest

from tests.training.runs import FAST, STEPS_PER_EPOCH, differences

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
        (2, 2, 0),
        pytest.param(10, 10, 0, marks=pytest.mark.slow),
        pytest.param(10, 10, 2, marks=pytest.mark.slow),
    ],
)
def test_kill_9_at_random_moments(ends, whole, tmp_path, epochs, kills, workers):
    words = [*FAST, "--epochs", str(epochs), "--workers", str(workers)]
    moments = at_random(kills, steps=epochs * STEPS_PER_EPOCH, seed=kills + workers)
    assert ends(words, tmp_path / "killed", [*moments, {}]) == [KILLED] * kills + [0]
    assert differences(whole(epochs), tmp_path / "killed") == []


def test_kill_9_while_each_file_is_put_in_place(ends, whole, tmp_path):
    """Of all files that a run is made of, in the order in which they come to be."""
    files = ["environment.json", "config.json", "step-", "best.", "step-"]
    files += ["scores.json", "report.html", "model.safetensors"]
    moments = [
        {"file": file, "number": 1 + (file == "step-"), "at": at}
        for file in files
        for at in ("inside", "before", "after")
    ]
    words = [*FAST, "--epochs", "2"]
    found = ends(words, tmp_path / "killed", [*moments, {}], save_seconds=0.0)
    assert found == [KILLED] * len(moments) + [0]
    assert differences(whole(2), tmp_path / "killed") == []
    assert list((tmp_path / "killed").rglob("*.part")) == []


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interrupted_training_is_saved_where_it_was(ends, whole, tmp_path, workers):
    """Whether it is asked to stop alone, or with its data workers: Ctrl-C goes to all of them."""
    words = [*FAST, "--epochs", "2", "--workers", str(workers)]
    hits = [
        {"step": 5, "seconds": 0.05, "signal": signal.SIGTERM},
        {"step": 40, "seconds": 0.05, "signal": signal.SIGINT, "group": True},
    ]
    assert ends(words, tmp_path / "hit", [*hits, {}]) == [130, 130, 0]
    assert differences(whole(2), tmp_path / "hit") == []
