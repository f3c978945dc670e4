"""Charts and points as files of their own: SVG with axes and words, for slides and papers."""

from html import escape

from patchword.pages.dots import Dots, dotted
from patchword.pages.figures import Chart, Tick, plot
from patchword.pages.plates import INK, QUIET, Scatter

WIDE, HIGH = 640, 400  # of the plot, in pixels
LEFT, TOP, BELOW = 64, 64, 56
GRID = "#e2dfd8"
LINES = ("#2f6db5", "#d9661f", "#2b8a6a", "#8c4fa8", "#a8811a", "#b23a5e")
GROUPS = (*LINES, "#7b8188", "#5bb4de", "#7a5033", "#e693bb")  # ten classes, apart on both grounds


def hue(group: int) -> str:
    """Return a colour for a group: of its own for the first ones, then one around the circle."""
    return GROUPS[group] if group < len(GROUPS) else f"hsl({group * 137 % 360} 45% 50%)"


def as_svg(drawn: object, title: str) -> str:
    """Draw a figure of lines or points; "" where it is one of pictures."""
    match drawn:
        case Chart():
            return chart_svg(drawn)
        case Dots():
            return dots_svg(drawn, title)
        case Scatter():
            return scatter_svg(drawn, title)
        case _:
            return ""


def chart_svg(chart: Chart) -> str:
    """Draw a chart with its axes, ticks and legend."""
    plotted = plot(chart)
    if plotted is None:
        return _svg(chart.title, [_text(LEFT, TOP + 20, "no finite value", QUIET)])
    parts = _axes((plotted.x_ticks, plotted.y_ticks), (chart.x_label, chart.y_label))
    parts += [_line(line.path, LINES[i % 6]) for i, line in enumerate(plotted.lines)]
    parts += _legend([(line.name, LINES[i % 6]) for i, line in enumerate(plotted.lines)])
    return _svg(chart.title, parts)


def dots_svg(dots: Dots, title: str) -> str:
    """Draw a dot per member of each step, and the line of their means."""
    found = dotted(dots)
    if found is None:
        return _svg(title, [_text(LEFT, TOP + 20, "no finite value", QUIET)])
    parts = _axes((found.x_ticks, found.y_ticks), (dots.x_label, dots.y_label))
    parts.append(_line(found.mean, LINES[1]))
    parts += [
        f'<circle cx="{LEFT + WIDE * dot.x / 1000:.1f}" cy="{TOP + HIGH * dot.y / 1000:.1f}" '
        f'r="4.5" fill="{LINES[0]}" fill-opacity="0.75"><title>{escape(dot.said)}</title></circle>'
        for dot in found.dots
    ]
    parts += _legend([(f"each {dots.member}", LINES[0]), (f"mean of {dots.member}s", LINES[1])])
    return _svg(title, parts)


def scatter_svg(scatter: Scatter, title: str) -> str:
    """Draw points, each group in its colour; what is wrong has a ring."""
    parts = [
        f'<circle cx="{LEFT + WIDE * x:.1f}" cy="{TOP + HIGH * y:.1f}" r="4.5" '
        f'fill="{hue(p.group)}"{_ring(wrong=p.wrong)}><title>{escape(p.title)}</title></circle>'
        for p, (x, y) in zip(scatter.points, placed(scatter), strict=True)
    ]
    parts += _legend([(name, hue(i)) for i, name in enumerate(scatter.groups)])
    return _svg(title, parts)


def placed(scatter: Scatter) -> list[tuple[float, float]]:
    """Return where each point lies in the frame: shares of its width and height, from the top."""
    xs, ys = [p.x for p in scatter.points], [p.y for p in scatter.points]
    side = max(max(xs) - min(xs), 1e-12), max(max(ys) - min(ys), 1e-12)
    return [
        (0.03 + 0.94 * (p.x - min(xs)) / side[0], 0.97 - 0.94 * (p.y - min(ys)) / side[1])
        for p in scatter.points
    ]


def _axes(ticks: tuple[tuple[Tick, ...], tuple[Tick, ...]], labels: tuple[str, str]) -> list[str]:
    """Draw the frame of a plot: lines, marks and names of x and y."""
    across, up = ticks
    parts = [
        f'<path d="M{LEFT} {TOP + HIGH * (100 - t.at) / 100:.1f}h{WIDE}" stroke="{GRID}"/>'
        + _text(LEFT - 8, TOP + HIGH * (100 - t.at) / 100 + 4, t.label, QUIET, "end")
        for t in up
    ]
    parts += [
        _text(LEFT + WIDE * t.at / 100, TOP + HIGH + 20, t.label, QUIET, "middle") for t in across
    ]
    parts.append(_text(LEFT + WIDE / 2, TOP + HIGH + 44, labels[0], INK, "middle"))
    return [*parts, _text(LEFT, TOP - 10, labels[1], INK)]


def _line(path: str, colour: str) -> str:
    style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"'
    scale = f"translate({LEFT} {TOP}) scale({WIDE / 1000} {HIGH / 1000})"
    drawn = f'<path d="{path}" {style} vector-effect="non-scaling-stroke"/>'
    return f'<g transform="{scale}">{drawn}</g>'


def _ring(*, wrong: bool) -> str:
    return f' stroke="{INK}" stroke-width="1.5"' if wrong else ' fill-opacity="0.75"'


def _legend(entries: list[tuple[str, str]]) -> list[str]:
    if len(entries) > 12:
        return []
    found, x, y = list[str](), LEFT, TOP + HIGH + BELOW
    for name, colour in entries:
        wide = 30 + 7.5 * len(name)
        if x + wide > LEFT + WIDE and x > LEFT:
            x, y = LEFT, y + 20
        found.append(f'<rect x="{x}" y="{y + 4}" width="14" height="4" rx="2" fill="{colour}"/>')
        found.append(_text(x + 20, y + 10, name, INK))
        x += wide
    return found


def _text(x: float | int, y: float | int, words: str, ink: str, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{ink}">{escape(words)}</text>'


def _svg(title: str, parts: list[str]) -> str:
    width, height = LEFT + WIDE + 24, TOP + HIGH + BELOW + 76
    head = _text(LEFT, 28, title, INK).replace("<text", '<text font-size="18" font-weight="600"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{head}{"".join(parts)}</svg>\n'
    )
