"""Keep authors' goldens in small, so that they are met where the folder they come from is not.

    python -m tests.parity.keep FOLDER

Their weights and pixels are noise by a formula: a golden whose every tensor is found to be the
formula's, with some mean and deviation, is written to tests/goldens as one file of its arguments,
those numbers, and its logits. What is not noise is a table of indices or masks, which the network
makes itself.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchword.errors import WeightsError
from tests.parity import goldens
from tests.parity.golden import Golden, checksum, made, noise

KEPT = Path(__file__).parents[1] / "goldens"
FACTS = ("name", "kwargs", "config", "seed", "inputs", "tolerance")  # that are carried over
PIXELS = 200_000  # numbers; larger images take too long to run by default
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
    if "logits" not in golden.wanted or "image" not in about.get("inputs", {}):
        return "it is not of images and logits"
    if golden.image.numel() > PIXELS:
        return "its images are large"
    kept = {fact: about[fact] for fact in FACTS if fact in about}
    kept["recipe"] = {}
    for key, tensor in golden.weights.items():
        found = about.get("recipe", {}).get(key) or fitted(about["seed"], key, tensor)
        if found is not None:  # else it is a table that the arguments decide
            kept["recipe"][key] = found
    arrays = {key: made(about["seed"], key, *draw) for key, draw in kept["recipe"].items()}
    kept["weights_crc32"] = checksum(arrays)
    kept["held"] = {"out.logits": golden.wanted["logits"].tolist()}
    path = KEPT / f"{golden.name}.json"
    path.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    try:
        assert torch.equal(Golden(KEPT, golden.name).image, golden.image), "other pixels"
        assert goldens.check(KEPT, golden.name).outcome == "pass", "other logits"
    except (AssertionError, WeightsError) as error:
        path.unlink()
        return f"it is not all by the formula: {str(error)[:60]}"
    return ""


def fitted(seed: int, key: str, tensor: torch.Tensor) -> list[Any] | None:
    """Return the kind, mean and deviation by which a tensor is the formula's noise."""
    shape = list(tensor.shape)
    if not tensor.numel():
        return ["normal", 0.0, 0.0, shape]
    if not tensor.is_floating_point():
        return ["const", tensor.item(), 0.0, shape] if tensor.numel() == 1 else None
    values, drawn = tensor.double().numpy().ravel(), noise(seed, key, shape).ravel()
    for kind, line in (("normal", values), ("lognormal", np.log(np.maximum(values, 1e-30)))):
        basis = np.stack([np.ones_like(drawn), drawn], axis=1)
        (mean, deviation), *_ = np.linalg.lstsq(basis, line, rcond=None)
        centre = float(np.exp(mean)) if kind == "lognormal" else float(mean)
        found = [kind, round(centre, 9), round(float(deviation), 9), shape]
        again = made(seed, key, *found).ravel()
        if np.abs(again - values).max() <= CLOSE * max(np.abs(values).max(), 1e-3):
            return found
    return None


if __name__ == "__main__":
    sys.exit(main())
