"""Run commands again and again, each time in a process that comes to another end.

It reads what to do line by line, as JSON:

    {"words": ["train", ...], "out": "...", "save_seconds": 0.05, "ends": [END, ...]}

An end is one of
    {}                                        the process is left alone
    {"file": "step-", "number": 3, "at": "before"}
                                              it kills itself before the third file whose name
                                              starts so is put in place; `inside`: with half of it
                                              written; `after`: with all of it there
    {"step": 40, "seconds": 0.02, "signal": 9}
                                              it gets a signal some time after a checkpoint of that
                                              step, or a later one, is there; with "group": true,
                                              its data workers get it too, as from a terminal

It answers with a line: how the processes ended, each by an exit code, or minus a signal. Each is a
fork of this one, which has imported everything and taken a step: what costs seconds is paid once.
"""

import json
import os
import signal
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2  # noqa: F401
import rich.table  # noqa: F401
import sklearn.datasets  # noqa: F401
import torchvision.transforms.v2.functional  # noqa: F401
import tyro  # noqa: F401

from patchword.cli import main
from patchword.training import job


def die_at(file: str, number: int, at: str) -> None:
    """Let this process kill itself around one of its renames."""
    put, left = os.replace, [number]

    def replacing(source: Path, target: Path) -> None:
        left[0] -= Path(target).name.startswith(file)
        hit = left[0] == 0 and Path(target).name.startswith(file)
        if hit and at == "inside":
            os.truncate(source, Path(source).stat().st_size // 2)
        if hit and at in ("inside", "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        put(source, target)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replacing


def hit_at(child: int, checkpoints: Path, end: dict) -> None:
    """Send a signal some time after a step was saved, if the process lives that long."""
    saved = "step-*.safetensors"
    while not any(int(p.stem[5:]) >= end["step"] for p in checkpoints.glob(saved)):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.002)
    time.sleep(end["seconds"])
    (os.killpg if end.get("group") else os.kill)(child, end["signal"])


def attempt(words: list[str], out: Path, end: dict) -> int:
    """Run the command in a fork, and return how that ended."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.dup2(2, 1)
        if "file" in end:
            die_at(**end)
        code = main(words)
        sys.stdout.flush()
        os._exit(code)
    if "step" in end:
        hit_at(child, out / "checkpoints", end)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(words: list[str], out: str, save_seconds: float, ends: list[dict]) -> list[int]:
    """Run all attempts, with checkpoints as often as that."""
    plan = job.make_plan
    job.make_plan = lambda settings: replace(plan(settings), save_seconds=save_seconds)
    found = [attempt([*words, "--out", out], Path(out), end) for end in ends]
    job.make_plan = plan
    return found


def warm() -> None:
    """Take one step, so that a fork finds there what is made when it is first needed."""
    words = ("train", "digits", "--precision", "fp32", "--workers", "0", "--settings", "steps=1")
    with TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        assert main([*words, "--out", f"{folder}/run"]) == 0


if __name__ == "__main__":
    warm()
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
