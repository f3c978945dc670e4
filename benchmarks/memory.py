"""What keeping freed memory is worth to a training step: `memory.kept` beside glibc's usual way.

    python benchmarks/memory.py

Turn by turn in one process, medians of the rounds; the faults are of pages, per step.
"""

import resource
import time
from statistics import median

import torch

import patchword as pw
from patchword.memory import kept
from patchword.training.origin import processor

CASES = {  # model -> images, their side
    "vit_mini_patch4_32": (256, 32),
    "vit_small_patch16_224": (8, 224),
    "swin_tiny_patch4_window7_224": (8, 224),
    "resnet50": (8, 224),
}
ROUNDS = 5
STEPS = 3


def stepper(name, count, side):
    """Return a function that takes one step of a training."""
    model = pw.create_model(name).train()
    images = torch.randn(count, 3, side, side)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()

    return step


def timed(step):
    """Return the seconds and the page faults of a step; one goes before."""
    step()
    faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    for _ in range(STEPS):
        step()
    spent = time.perf_counter() - start
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return spent / STEPS, found / STEPS


def main():
    print(f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':30} {'usual':>8} {'kept':>8} {'ratio':>6} {'faults':>9} {'kept':>8}")
    for name, case in CASES.items():
        step, rows = stepper(name, *case), []
        for _ in range(ROUNDS):
            usual = timed(step)
            with kept():
                rows.append((usual, timed(step)))
        (a, faults), (b, fewer) = (
            [median(row[i][j] for row in rows) for j in (0, 1)] for i in (0, 1)
        )
        ratio = median(usual[0] / held[0] for usual, held in rows)
        print(f"{name:30} {a:6.3f} s {b:6.3f} s {ratio:6.2f} {faults:9,.0f} {fewer:8,.0f}")


if __name__ == "__main__":
    main()
