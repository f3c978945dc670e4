"""Small real trainings for the tests of `training` and `cli`, and how two of them compare."""

import json
import os
import subprocess
import sys
from pathlib import Path

import patchword
from patchword.engine.run import CLOCK, Run
from patchword.weights.files import read_with_notes

SOURCE = Path(patchword.__file__).parents[1]
ONE_THREAD = {
    **os.environ,
    "PYTHONPATH": str(SOURCE),
    "OMP_NUM_THREADS": "1",  # two busy processes of two threads each wait for one another
    "OPENBLAS_NUM_THREADS": "1",
}
FAST = (  # a tenth of a second per epoch of the digits, with all that is random turned on
    *("train", "digits", "--image-size", "4", "4", "--batch-size", "48", "--precision", "fp32"),
    *("--holdout", "0.1", "--settings", "optim.name=adamw", "optim.lr=0.001", "mixing.mixup=0.2"),
    *("drop_rate=0.1", "drop_path_rate=0.1", "augment.erase=0.2", "accumulate=2"),
)


def ends(words, out, ends, save_seconds=0.05):
    """Run a command as often as there are ends, and return how each process ended."""
    asked = {"words": words, "out": str(out), "save_seconds": save_seconds, "ends": ends}
    with out.with_suffix(".txt").open("w") as said:  # a pipe would be held open by orphans
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("doomed.py"), json.dumps(asked)],
            env=ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def contents(out):
    """Return all that two runs of the same settings must have in common."""
    log = [{k: v for k, v in row.items() if k not in CLOCK} for row in Run(out).rows()]
    newest = max(Run(out).checkpoints.glob("step-*.safetensors"))
    tensors = {
        f"{path.name}: {name}": tensor.numpy().tobytes()
        for path in (out / "model.safetensors", Run(out).best_file, newest)
        if path.exists()
        for name, tensor in read_with_notes(path)[0].items()
    }
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    return {"log": log, "scores": scores, **tensors}


def differences(a, b):
    """Name what two runs do not have in common."""
    a, b = contents(a), contents(b)
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
