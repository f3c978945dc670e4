"""What share of the machine's matrix rate a finished run reached.

    python benchmarks/share.py RUN

The rate is measured here and now, on products of the size 3136 x 768 x 3072, in fp32 and in bf16:
run it on the machine that trained, with nothing else running. A training step counts as three
forward passes of matrix products and convolutions; the optimizer's own work is not counted.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from patchword.engine.run import Run
from patchword.factory import build
from patchword.training.job import stored_card
from patchword.training.settings import stored


def matrix_rate(dtype, seconds=2.0):
    a, b = torch.randn(3136, 768, dtype=dtype), torch.randn(768, 3072, dtype=dtype)
    a @ b
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds:
        before = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - before)
    return 2 * 3136 * 768 * 3072 / median(times)


def main():
    folder = Path(sys.argv[1])
    settings, card = stored(folder), stored_card(folder)
    rows = [row for row in Run(folder).rows() if "loss" in row]
    seconds, waited = (
        sum(row["seconds"] for row in rows),
        sum(row["seconds"] * row["waiting"] for row in rows),
    )
    seen = settings.steps * settings.recipe.batch_size
    model = build(card)
    images = torch.zeros(2, len(card.preprocessing.mean), *card.preprocessing.image_size)
    with FlopCounterMode(display=False) as counter:
        model(images)
    per_image = 3 * counter.get_total_flops() / 2
    rates = {"fp32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}
    machine = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    reached = per_image * seen / seconds
    print(f"{machine['processor']}, {settings.threads} threads, {settings.precision}")
    print(f"{seen:,} images in {seconds:.0f} s of training: {seen / seconds:,.0f} images/s")
    print(f"{waited / seconds:.1%} of that waiting for data")
    print(f"{per_image / 1e6:.0f} MFLOP per image: {reached / 1e9:.0f} GFLOP/s")
    for name, rate in rates.items():
        print(f"{name} products {rate / 1e9:.0f} GFLOP/s: share {reached / rate:.0%}")


if __name__ == "__main__":
    main()
