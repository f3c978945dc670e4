"""Charts and points as files of their own: SVG with axes and words, for slides and papers."""

from html import escape

from patchword.pages.figures import Chart, plot
from patchword.pages.plates import INK, QUIET, Scatter

WIDE, HIGH = 640, 400  # of the plot, in pixels
LEFT, TOP, BELOW = 64, 64, 56
GRID = "#e2dfd8"
LINES = ("#2f6db5", "#d9661f", "#2b8a6a", "#8c4fa8", "#a8811a", "#b23a5e")


def hue(group: int) -> str:
    """Return a colour for a group: the lines' for the first ones, then others around the circle."""
    return LINES[group] if group < len(LINES) else f"hsl({group * 137 % 360} 45% 50%)"


def chart_svg(chart: Chart) -> str:
    """Draw a chart with its axes, ticks and legend."""
    plotted = plot(chart)
    if plotted is None:
        return _svg(chart.title, [_text(LEFT, TOP + 20, "no finite value", QUIET)])
    parts = [
        f'<path d="M{LEFT} {TOP + HIGH * (100 - t.at) / 100:.1f}h{WIDE}" stroke="{GRID}"/>'
        + _text(LEFT - 8, TOP + HIGH * (100 - t.at) / 100 + 4, t.label, QUIET, "end")
        for t in plotted.y_ticks
    ]
    parts += [
        _text(LEFT + WIDE * t.at / 100, TOP + HIGH + 20, t.label, QUIET, "middle")
        for t in plotted.x_ticks
    ]
    scale = f"translate({LEFT} {TOP}) scale({WIDE / 1000} {HIGH / 1000})"
    for i, line in enumerate(plotted.lines):
        style = f'fill="none" stroke="{LINES[i % 6]}" stroke-width="2" stroke-linecap="round"'
        path = f'<path d="{line.path}" {style} vector-effect="non-scaling-stroke"/>'
        parts.append(f'<g transform="{scale}">{path}</g>')
    parts += _legend([(line.name, LINES[i % 6]) for i, line in enumerate(plotted.lines)])
    parts.append(_text(LEFT + WIDE / 2, TOP + HIGH + 44, chart.x_label, INK, "middle"))
    parts.append(_text(LEFT, TOP - 10, chart.y_label, INK))
    return _svg(chart.title, parts)


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
