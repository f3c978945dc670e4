"""What the tests of `training` share: a process that others are forked from, and a finished run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.cells import tiny_heads
from tests.training.runs import FAST, ONE_THREAD


@pytest.fixture(scope="module")
def tiny():
    """Small heads, smaller still."""
    with tiny_heads():
        yield


@pytest.fixture(scope="session")
def ends(tmp_path_factory):
    """Return a function: run a command as often as there are ends; how did each process end?"""
    said = tmp_path_factory.mktemp("doomed") / "said.txt"  # a pipe would be held open by orphans
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("doomed.py")],
            env=ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def run(words, out, ends, save_seconds=0.05):
        asked = {"words": words, "out": str(out), "save_seconds": save_seconds, "ends": ends}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, said.read_text()
        return json.loads(answer)

    yield run
    process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="session")
def whole(ends, tmp_path_factory):
    """Return a function: a run of so many epochs that nothing has disturbed."""
    folder, made = tmp_path_factory.mktemp("whole"), {}

    def run(epochs):
        if epochs not in made:
            made[epochs] = folder / str(epochs)
            assert ends([*FAST, "--epochs", str(epochs)], made[epochs], [{}]) == [0]
        return made[epochs]

    return run
