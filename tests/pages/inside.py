"""A page of "Look inside" in which every kind of figure is present, over drawn attention."""

import numpy as np

from patchword.pages.dots import Dots, Step
from patchword.pages.figures import Chart, Series
from patchword.pages.inspect import Inside, Panel, Plate, Run, Section, Viewed
from patchword.pages.maps import Layer, Places
from patchword.pages.plates import Matrix, Mosaic, Point, Row, Scale, Scatter, Sheet, Strip
from patchword.pages.report import Facts, Figure

GRID = (4, 6)


def attention(rng, queries, keys, heads=2):
    scores = rng.normal(0, 2, (heads, queries, keys))
    weights = np.exp(scores)
    return weights / weights.sum(-1, keepdims=True)


def whole(rng, name, grid=GRID, prefix=("class token",)):
    """Return a layer in which everything attends to everything."""
    places = Places(rows=grid[0], columns=grid[1], prefix=prefix)
    weights = attention(rng, places.count, places.count)
    return Layer(name=name, weights=weights, queries=places, keys=places)


def windowed(rng, name, grid=GRID, side=2):
    """Return a layer that attends inside windows."""
    places = Places(rows=grid[0], columns=grid[1])
    cells = np.arange(places.count).reshape(grid)
    members = np.array(
        [
            cells[i : i + side, j : j + side].ravel()
            for i in range(0, grid[0], side)
            for j in range(0, grid[1], side)
        ]
    )
    window = np.zeros(places.count, int)
    for number, inside in enumerate(members):
        window[inside] = number
    weights = attention(rng, places.count, side * side)
    return Layer(
        name=name, weights=weights, queries=places, keys=places, window=window, members=members
    )


def reduced(rng, name, grid=GRID):
    """Return a layer whose keys are of a coarser grid."""
    queries, keys = Places(rows=grid[0], columns=grid[1]), Places(rows=2, columns=3)
    weights = attention(rng, queries.count, keys.count)
    return Layer(name=name, weights=weights, queries=queries, keys=keys)


def viewed(picture, name="dress", seed=0, *, layers=None):
    rng = np.random.default_rng(seed)
    made = layers or (whole(rng, "block 1"), windowed(rng, "block 2"), reduced(rng, "block 3"))
    return Viewed(
        picture=picture, title=name, answer=f"answered {name} 51.0 %", verdict="wrong", layers=made
    )


def plates(picture, words):
    """Return a figure of each kind."""
    rng = np.random.default_rng(1)
    row = Row(title=words, note=words, wrong=True, pictures=(picture,) * 2, words=(words, "b"))
    points = tuple(
        Point(
            x=rng.normal(),
            y=rng.normal(),
            group=i % 3,
            title=f"{words} {i}",
            wrong=i == 2,
            picture=picture if i else None,
        )
        for i in range(9)
    )
    ends = Scale(low="-1", high="1")
    line = Series(name=words, x=(1, 2, 3), y=(0.1, 0.4, 0.2))
    steps = tuple(Step(title=f"{words} {i}", values=(i, i + 0.5)) for i in range(3))
    return {
        "chart": Chart(title=words, x_label="layer", y_label="patches", series=(line,)),
        "dots": Dots(x_label="layer", y_label="pixels", steps=steps),
        "matrix": Matrix(rows=(words, "b"), columns=("a", "b", "c"), values=rng.random((2, 3))),
        "mosaic": Mosaic(pictures=(picture,) * 5, alt="filter"),
        "scatter": Scatter(points=points, groups=(words, "b", "c")),
        "sheet": Sheet(pixels=picture[..., :3], alt=words, scale=ends),
        "strip": Strip(columns=(words, "rollout"), rows=(row,)),
    }


def inside(pictures, words="dress", *, runs=1):
    """Return a page on so many runs."""
    panel = {kind: Panel(drawn=drawn) for kind, drawn in plates(pictures[0], words).items()}
    none = Panel(absent=f"{words} has no attention.")
    sections = tuple(
        Section(
            id=f"part-{kind}",
            title=kind,
            lead=words,
            plates=(Plate(id=kind, title=kind, caption=words, panels=(one, none)[:runs]),),
        )
        for kind, one in panel.items()
    )
    shown = tuple(viewed(picture, f"{words} {i}", i) for i, picture in enumerate(pictures))
    seen = [Run(name=f"{words} a", viewed=shown, remark=words), Run(name="b", viewed=shown)]
    return Inside(
        title=f"Inside {words}",
        subtitle=words,
        headline=(Figure(label=words, value="51 %", note=words),),
        notes=(words,),
        runs=tuple(seen[:runs]),
        sections=sections,
        facts=(Facts(title=words, rows=((words, words),)),),
    )
