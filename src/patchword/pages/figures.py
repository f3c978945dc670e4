"""Line charts: where the ticks stand, the path of each line, and what a reader can read off.

The plot is drawn on a square of `SIDE` units that the page stretches to the room there is; words
stay outside it, as text of the page, and so keep their size on a phone.
"""

import json
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from patchword.errors import ConfigError

SIDE = 1000
POINTS = 400  # of a line; more cannot be told apart
INTERVALS = 5  # about so many between the ticks of an axis


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: as many y as x, x rising; what is not finite is a gap."""

    name: str
    x: tuple[float | int, ...]
    y: tuple[float | int, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ConfigError(
                f"series {self.name!r} has {len(self.x)} x and {len(self.y)} y; give one y per x"
            )


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Some lines over one pair of axes; the caption is one sentence on how to read them."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis, `at` percent of the way along it."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series as drawn: an SVG path, and its last finite value in words."""

    name: str
    path: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A chart as drawn; `readings` is the JSON from which the page answers a pointer."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    readings: str


def plot(chart: Chart) -> Plot | None:
    """Lay out a chart, or return None where no point of it is finite."""
    thinned = [_thin(np.array(s.x, float), np.array(s.y, float)) for s in chart.series]
    seen = [(x[ok], y[ok]) for x, y in thinned if (ok := np.isfinite(x) & np.isfinite(y)).any()]
    if not seen:
        return None
    all_x, all_y = (np.concatenate(values) for values in zip(*seen, strict=True))
    x_span = _room(all_x)
    y_step = tick_step(_room(all_y))
    y_span = rounded(_room(all_y), y_step)
    x_step = tick_step(x_span)
    if (all_x == all_x.round()).all():
        x_step = max(1.0, x_step)
    lines = tuple(
        Line(name=series.name, path=_path(x, y, x_span, y_span), last=_last(y))
        for series, (x, y) in zip(chart.series, thinned, strict=True)
    )
    data = [{"x": _numbers(x), "y": _numbers(y)} for x, y in thinned]
    readings = json.dumps({"x": x_span, "y": y_span, "lines": data}, separators=(",", ":"))
    x_ticks, y_ticks = ticks(x_span, x_step), ticks(y_span, y_step)
    return Plot(x_ticks=x_ticks, y_ticks=y_ticks, lines=lines, readings=readings)


def number(value: float | int) -> str:
    """Write a value with at most four significant digits after its thousands."""
    if not math.isfinite(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.4g}"


def _thin(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Keep of each stretch its least, its greatest and a gap, so that no spike is lost."""
    if len(y) > POINTS:
        stretches = np.array_split(np.arange(len(y)), POINTS // 2)
        kept = np.unique(np.concatenate([_landmarks(y, stretch) for stretch in stretches]))
        x, y = x[kept], y[kept]
    return x, y


def _landmarks(y: Float[np.ndarray, " n"], stretch: Int[np.ndarray, " s"]) -> Int[np.ndarray, " k"]:
    finite = np.isfinite(y[stretch])
    solid, gaps = stretch[finite], stretch[~finite]
    if solid.size:
        solid = solid[[np.argmin(y[solid]), np.argmax(y[solid])]]
    ends = stretch[[-1]] if stretch[-1] == len(y) - 1 else stretch[:0]
    return np.concatenate([solid, gaps[:1], ends])


def _room(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) / 2 or 1.0
        return low - margin, high + margin
    return low, high


def tick_step(span: tuple[float, float]) -> float:
    """Return the least of 1, 2 or 5 times a power of ten that makes few enough intervals."""
    rough = (span[1] - span[0]) / INTERVALS
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def rounded(span: tuple[float, float], step: float) -> tuple[float, float]:
    """Widen a span to whole steps."""
    low, high = math.floor(span[0] / step + 1e-9), math.ceil(span[1] / step - 1e-9)
    return low * step, high * step


def ticks(span: tuple[float, float], step: float) -> tuple[Tick, ...]:
    """Return a mark for each step of a span."""
    low, high = span
    counts = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    values = [count * step for count in counts]
    return tuple(
        Tick(at=round(100 * (v - low) / (high - low), 2), label=f"{v:,.6g}") for v in values
    )


def _path(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    x_span: tuple[float, float],
    y_span: tuple[float, float],
) -> str:
    """Join neighbours; a point with none on either side becomes a dot (a line of no length)."""
    across = (x - x_span[0]) / (x_span[1] - x_span[0]) * SIDE
    down = (y_span[1] - y) / (y_span[1] - y_span[0]) * SIDE
    commands: list[str] = []
    lifted = True
    for place in zip(across, down, strict=True):
        if np.isfinite(place).all():
            point = f"{place[0]:.1f} {place[1]:.1f}"
            commands.append(f"M{point}h0" if lifted else f"L{point}")
        lifted = not np.isfinite(place).all()
    return "".join(commands)


def _last(y: Float[np.ndarray, " n"]) -> str:
    finite = y[np.isfinite(y)]
    return number(float(finite[-1]) if finite.size else math.nan)


def _numbers(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.tolist()]
