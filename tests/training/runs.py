"""Small real trainings for the tests of `training` and `cli`, and how two of them compare."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

import patchword
from patchword.engine.run import CLOCK, Run
from patchword.weights.files import read_with_notes

SOURCE = Path(patchword.__file__).parents[1]
ONE_THREAD = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    "PYTHONPATH": str(SOURCE),
    "OMP_NUM_THREADS": "1",  # two busy processes of two threads each wait for one another
    "OPENBLAS_NUM_THREADS": "1",
}
FAST = (  # half a second per epoch of the digits, with all that is random turned on
    *("train", "digits", "--batch-size", "48", "--precision", "fp32", "--holdout", "0.1"),
    *("--settings", "optim.name=adamw", "optim.lr=0.001", "mixing.mixup=0.2", "drop_rate=0.1"),
    *("drop_path_rate=0.1", "augment.erase=0.2", "accumulate=2"),
)
STEPS_PER_EPOCH = 1295 // 48


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
    model = (out / "model.safetensors").read_bytes()
    return {"log": log, "scores": scores, "model.safetensors": model, **tensors}


def differences(a, b):
    """Name what two runs do not have in common."""
    a, b = contents(a), contents(b)
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def photos(folder, *, splits=("train", "val"), classes=("cat", "dog", "hen"), each=6):
    """Write pictures of several sizes, each class in a colour of its own."""
    draw = np.random.default_rng(0)
    for split in splits:
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for number in range(each):
                size = (60 + 4 * number, 80 - 4 * number, 3)
                pixels = draw.integers(0, 120, size, dtype=np.uint8)
                pixels[..., label % 3] += 120
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder
