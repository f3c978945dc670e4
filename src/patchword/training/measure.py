"""What is measured on the machine, once per run: the precision, and the steps that fit."""

import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from patchword.engine.devices import Precision, faster
from patchword.engine.loop import Plan, step
from patchword.engine.state import State
from patchword.errors import ConfigError
from patchword.training.answers import Asked
from patchword.training.feed import Feed, Steps

WARM = 3  # steps that are not timed
SAMPLE = 8.0  # seconds of steps that a budget is made from
VIEWS = 32  # that a teacher is timed on
RESERVE = 6.0  # seconds for the table and the report


def precision(
    make: Callable[[], State[Any]], feed: Steps[Any], plan: Plan
) -> dict[Precision, float]:
    """Time a step of a throw-away network in each precision, at the last size of pictures."""
    state = make()
    batches = feed(feed.batches.frames[-1][0])
    with closing(batches), torch.random.fork_rng(devices=[]):
        batch = next(batches)
        return faster(lambda kind: step(state, batch, replace(plan, precision=kind)))


def teacher(asked: Asked, feed: Feed) -> tuple[dict[Precision, float], bool]:
    """Time a teacher on some views in each precision; tell whether it names the same classes."""
    batch = feed.batches[0]
    few = batch._replace(images=batch.images[:VIEWS])
    said: dict[Precision, Tensor] = {}

    def ask(kind: Precision) -> None:
        said[kind] = asked.ask(few, kind).argmax(dim=1).cpu()

    times = faster(ask)
    return times, torch.equal(said["fp32"], said["bf16"])


def pace(make: Callable[[], State[Any]], feed: Steps[Any], plan: Plan) -> float:
    """Return the mean seconds of a step of a throw-away network, data included."""
    firsts = [first for first, _ in feed.batches.frames]
    counts = [b - a for a, b in pairwise([*firsts, plan.steps])]  # of steps at each size
    each = [_pace(make(), feed, plan, first, SAMPLE / len(firsts)) for first in firsts]
    return sum(n * seconds for n, seconds in zip(counts, each, strict=True)) / plan.steps


def _pace(state: State[Any], feed: Steps[Any], plan: Plan, first: int, sample: float) -> float:
    batches = feed(first)
    with closing(batches), torch.random.fork_rng(devices=[]):
        for _ in range(WARM):
            step(state, next(batches), plan)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < sample or count < 2:
            step(state, next(batches), plan)
            count += 1
        return (time.perf_counter() - start) / count


def fitting(minutes: float, spent: float, scoring: Callable[[int], float], per_step: float) -> int:
    """Return the steps that fit into a budget.

    Args:
        minutes: of wall clock, all told.
        spent: seconds since the command began.
        scoring: seconds of all looks at held-out pictures, in a training of so many steps.
        per_step: seconds.

    Raises:
        ConfigError: not one step fits.
    """
    room = 60 * minutes - spent - RESERVE

    def need(steps: int) -> float:
        return steps * per_step + scoring(steps)

    steps = bisect_right(range(1, max(int(room / per_step), 1) + 1), room, key=need)
    if steps < 1:
        least = (spent + RESERVE + need(1)) / 60
        raise ConfigError(
            f"--minutes {minutes:g} is too short: one step, and scoring it, needs {least:.1f} here"
        )
    return steps
