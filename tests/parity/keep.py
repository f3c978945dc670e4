"""Keep authors' goldens in small, so that they are met where the folder they come from is not.

    python -m tests.parity.keep FOLDER

Their weights are noise by a formula: a golden whose every tensor is found to be the formula's, with
some mean and deviation, is written to tests/goldens as one file of its arguments, those numbers,
its input and its logits.
"""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity import goldens
from tests.parity.golden import Golden, checksum, made, noise

KEPT = Path(__file__).parents[1] / "goldens"
FACTS = ("name", "kwargs", "seed", "tolerance", "parameters")  # that are carried over
LARGEST = 24_000  # bytes of an input or an output
CLOSE = 2e-6  # of the largest value: the rounding of a fit


def main() -> int:
    """Write what can be kept of a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.keep", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    KEPT.mkdir(exist_ok=True)
    for name in goldens.names(folder):
        if goldens.reader(name) is None or "unofficial" in name:
            continue
        reason = keep(Golden(folder, name))
        print(f"{name:44} {reason or 'kept'}", flush=True)
    return 0


def keep(golden: Golden) -> str:
    """Write one golden; return why it cannot be, or nothing."""
    about = golden.about
    held = {n: t for n, t in golden.held.items() if n.startswith("in.") or n == "out.logits"}
    if "out.logits" not in held:
        return "it has no logits"
    if any(tensor.nbytes > LARGEST for tensor in held.values()):
        return "its images are too large"
    recipe = about.get("recipe") or {}
    for key, tensor in golden.weights.items() if not recipe else ():
        found = fitted(about["seed"], key, tensor)
        if found is not None:
            recipe[key] = found
        elif tensor.is_floating_point():
            return f"{key} is not by the formula"
    kept = {fact: about[fact] for fact in FACTS if fact in about}
    kept |= {"recipe": recipe, "weights_crc32": checksum(made(about["seed"], recipe))}
    kept["held"] = {name: packed(tensor) for name, tensor in held.items()}
    (KEPT / f"{golden.name}.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
    return ""


def fitted(seed: int, key: str, tensor: torch.Tensor) -> list[Any] | None:
    """Return the kind, mean and deviation by which a tensor is the formula's noise."""
    shape = list(tensor.shape)
    if not tensor.is_floating_point():
        return ["const", tensor.item(), 0.0, shape] if tensor.numel() == 1 else None
    values, drawn = tensor.double().numpy().ravel(), noise(seed, key, shape).ravel()
    if (values == values[0]).all():
        return ["constant", float(values[0]), 0.0, shape]
    for kind, line in (("normal", values), ("lognormal", np.log(np.maximum(values, 1e-30)))):
        basis = np.stack([np.ones_like(drawn), drawn], axis=1)
        (mean, deviation), *_ = np.linalg.lstsq(basis, line, rcond=None)
        centre = float(np.exp(mean)) if kind == "lognormal" else float(mean)
        found = [kind, centre, float(deviation), shape]
        again = made(seed, {key: found})[key].ravel()
        if np.abs(again - values).max() <= CLOSE * max(np.abs(values).max(), 1e-3):
            return found
    return None


def packed(tensor: torch.Tensor) -> dict[str, Any]:
    """Return a tensor as text."""
    array = tensor.contiguous().numpy()
    text = base64.b64encode(array.tobytes()).decode()
    return {"type": str(array.dtype), "shape": list(array.shape), "bytes": text}


if __name__ == "__main__":
    sys.exit(main())
