"""Dots lie where their numbers say, under means that are theirs."""

import math

import pytest

from patchword.pages.dots import Dots, Step, dotted
from patchword.pages.svg import dots_svg


def laid(*values):
    steps = tuple(Step(title=f"block {i + 1}", values=each) for i, each in enumerate(values))
    return Dots(x_label="layer", y_label="pixels", steps=steps)


def test_dots_lie_at_their_step_and_height():
    found = dotted(laid((10.0, 50.0), (math.nan, 20.0)))
    assert [tick.label for tick in found.y_ticks] == ["0", "10", "20", "30", "40", "50"]
    assert [(dot.x, dot.y) for dot in found.dots] == [(250, 800), (250, 0), (750, 600)]
    assert [dot.said for dot in found.dots][1:] == [
        "block 1, head 2: 50 pixels",
        "block 2, head 1: 20 pixels",
    ]
    assert found.mean == "M250.0 400.0L750.0 600.0"
    assert [(tick.at, tick.label) for tick in found.x_ticks] == [(25, "1"), (75, "2")]


@pytest.mark.parametrize(("values", "low"), [((0.0, 0.0), "0"), ((-3.0, 1.0), "-3")])
def test_nought_is_in_the_frame(values, low):
    found = dotted(laid(values))
    assert found.y_ticks[0].label == low and all(0 <= dot.y <= 1000 for dot in found.dots)


def test_steps_are_named_as_far_as_there_is_room():
    found = dotted(laid(*[(1.0,)] * 30))
    assert [tick.label for tick in found.x_ticks] == [str(i) for i in range(1, 31, 3)]


def test_where_nothing_is_finite_nothing_is_drawn():
    nothing = laid((math.nan,))
    assert dotted(nothing) is None
    assert "no finite value" in dots_svg(nothing, "distance")
