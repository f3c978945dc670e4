"""Dots by step: a number for each of several members of every step, as of the heads of a layer."""

import math
from dataclasses import dataclass

from patchword.pages.figures import SIDE, Tick, number, rounded, tick_step, ticks

LABELS = 12  # of steps; of more, evenly spaced ones


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the members of a step have; what is not finite is left out."""

    title: str
    values: tuple[float | int, ...]


@dataclass(frozen=True, kw_only=True)
class Dots:
    """A dot per member over the steps in order, from 0 up, and a line through their means."""

    x_label: str
    y_label: str
    steps: tuple[Step, ...]
    member: str = "head"


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A member as drawn: where, from the left and from the top, of `SIDE`; and what it says."""

    x: float
    y: float
    said: str


@dataclass(frozen=True, kw_only=True)
class Dotted:
    """Dots as drawn."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    mean: str  # an SVG path


def dotted(drawn: Dots) -> Dotted | None:
    """Lay dots out, or return None where no value is finite."""
    kept = [[v for v in step.values if math.isfinite(v)] for step in drawn.steps]
    values = [v for step in kept for v in step]
    if not values:
        return None
    span = min(0.0, *values), max(0.0, *values) or 1.0
    step = tick_step(span)
    low, high = rounded(span, step)
    lines, dots = list[tuple[float, float]](), list[Dot]()

    def place(i: int, value: float | int) -> tuple[float, float]:
        return SIDE * (i + 0.5) / len(kept), SIDE * (high - value) / (high - low)

    for i, (title, found) in enumerate(zip([s.title for s in drawn.steps], kept, strict=True)):
        for j, value in enumerate(found):
            x, y = place(i, value)
            said = f"{title}, {drawn.member} {j + 1}: {number(value)} {drawn.y_label}"
            dots.append(Dot(x=x, y=y, said=said))
        if found:
            lines.append(place(i, sum(found) / len(found)))
    every = math.ceil(len(kept) / LABELS)
    named = tuple(
        Tick(at=round(100 * (i + 0.5) / len(kept), 2), label=str(i + 1))
        for i in range(0, len(kept), every)
    )
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in lines)
    y_ticks = ticks((low, high), step)
    return Dotted(x_ticks=named, y_ticks=y_ticks, dots=tuple(dots), mean=path)
