"""What is drawn: ticks, paths, colours and pairs, against values worked out by hand."""

import base64
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchword.pages.confusion import Confusion, confused_pairs, matrix_picture, shares
from patchword.pages.figures import POINTS, Chart, Series, number, plot
from patchword.pages.pictures import (
    DIVERGING,
    GAP,
    HEAT,
    TILES,
    colour,
    embed,
    heat,
    position_sheet,
)

NAN = float("nan")


def drawn(*lines):
    series = tuple(Series(name="s", x=tuple(x), y=tuple(y)) for x, y in lines)
    return plot(Chart(title="t", x_label="x", y_label="y", series=series))


def pixels(picture):
    data = base64.b64decode(picture.uri.partition(",")[2])
    return np.array(Image.open(io.BytesIO(data)))


def test_a_line_runs_from_corner_to_corner():
    plotted = drawn(((0, 10), (0.0, 1.0)))
    assert plotted.lines[0].path == "M0.0 1000.0h0L1000.0 0.0"
    assert [(t.at, t.label) for t in plotted.x_ticks][:2] == [(0, "0"), (20, "2")]
    assert [t.label for t in plotted.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_what_is_not_a_number_is_a_gap_and_a_lone_point_a_dot():
    plotted = drawn(((0, 1, 2, 3, 4), (0.0, NAN, 1.0, math.inf, 0.0)))
    assert plotted.lines[0].path == "M0.0 1000.0h0M500.0 0.0h0M1000.0 1000.0h0"
    assert json.loads(plotted.readings)["lines"][0]["y"] == [0, None, 1, None, 0]


def test_one_point_is_drawn_in_the_middle():
    plotted = drawn(((3,), (0.5,)))
    assert plotted.lines[0].path == "M500.0 500.0h0"
    assert plotted.lines[0].last == "0.5"


def test_nothing_finite_is_no_plot():
    assert drawn(((1, 2), (NAN, NAN))) is None
    assert drawn() is None


def test_epochs_are_ticked_at_whole_numbers():
    assert [t.label for t in drawn(((1, 2, 3), (1.0, 2.0, 3.0))).x_ticks] == ["1", "2", "3"]


def test_a_long_line_keeps_its_spikes_gaps_and_ends():
    y = np.zeros(100_000)
    y[777], y[50_001], y[99_999] = 9.0, -3.0, 1.0
    y[1234] = NAN
    kept = json.loads(drawn((range(100_000), y.tolist())).readings)["lines"][0]
    assert len(kept["y"]) <= 1.5 * POINTS + 1
    assert {9.0, -3.0, 1.0, None} <= set(kept["y"])
    assert kept["x"][-1] == 99_999


@given(
    st.lists(
        st.floats(-(2.0**100), 2.0**100) | st.sampled_from([NAN, math.inf]), min_size=1, max_size=50
    )
)
def test_every_line_stays_inside_its_axes(values):
    plotted = drawn((range(len(values)), values))
    if plotted is None:
        assert not np.isfinite(values).any()
        return
    numbers = [
        float(n)
        for n in plotted.lines[0]
        .path.replace("h0", "")
        .translate(str.maketrans("ML", "  "))
        .split()
    ]
    assert all(-0.1 <= n <= 1000.1 for n in numbers)
    assert 2 <= len(plotted.y_ticks) <= 9
    json.loads(plotted.readings, parse_constant=pytest.fail)


def test_numbers_in_words():
    assert [number(v) for v in (0.12345, 1234.5, 1234567.8, NAN)] == [
        "0.1235", "1,234", "1,234,568", "—",
    ]  # fmt: skip


def test_shares_and_pairs():
    counts = np.array([[8, 2, 0], [0, 0, 0], [3, 1, 6]])
    table = Confusion(names=("a", "b", "c"), counts=counts)
    assert shares(table).tolist() == [[0.8, 0.2, 0], [0, 0, 0], [0.3, 0.1, 0.6]]
    found = [(p.truth, p.answer, p.count, p.share) for p in confused_pairs(table)]
    assert found == [("c", "a", 3, 0.3), ("a", "b", 2, 0.2), ("c", "b", 1, 0.1)]
    opacity = pixels(matrix_picture(table))[..., 3]
    assert (opacity[counts == 0] == 0).all() and opacity[0, 0] > opacity[0, 1] > 0


def test_counts_without_a_sign_are_counted_too():
    table = Confusion(names=("a", "b"), counts=np.array([[5, 1], [0, 2]], dtype=np.uint8))
    assert [(p.truth, p.count) for p in confused_pairs(table)] == [("a", 1)]


def test_colours_meet_their_stops():
    ends = colour(np.array([0.0, 0.5, 1.0, NAN]), DIVERGING)
    assert ["#" + bytes(c[:3]).hex() for c in ends] == [*DIVERGING, DIVERGING[0]]


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 3), (13, 3)])
def test_small_pictures_are_kept_exactly(make_picture, channels, shown):
    original = make_picture(8, 5, channels)
    picture = embed(original)
    assert picture.exact and (picture.width, picture.height) == (5, 8)
    assert picture.uri.startswith("data:image/png;base64,")
    assert (pixels(picture).reshape(8, 5, shown) == original[..., :shown]).all()


def test_photographs_are_reduced_and_stay_alike(make_picture):
    picture = embed(make_picture(300, 600))
    assert not picture.exact and (picture.width, picture.height) == (224, 112)
    original = make_picture(100, 200)
    kept = pixels(embed(original)).astype(float)
    assert np.abs(kept - original).mean() < 6


def test_heat_runs_from_nothing_to_the_most_of_its_map():
    (zero, half), (most, unknown) = pixels(heat(np.array([[0.0, 0.1], [0.2, NAN]])))
    assert ["#" + bytes(c).hex() for c in (zero, half, most, unknown)] == [*HEAT, HEAT[0]]
    assert (pixels(heat(np.zeros((2, 2)))) == zero).all()


def test_a_position_tile_stands_where_its_position_is():
    similarity = np.zeros((2, 3, 2, 3))
    similarity[1, 2, 0, 1] = 1.0
    sheet = pixels(position_sheet(similarity))
    zoom = 12  # 36 pixels for the longer side of a tile
    high, wide = 2 * zoom + GAP, 3 * zoom + GAP
    assert sheet.shape == (2 * high - GAP, 3 * wide - GAP, 4)
    lit = (sheet[..., :3] == list(bytes.fromhex(DIVERGING[2][1:]))).all(-1)
    assert lit.sum() == zoom**2
    assert lit[high : high + zoom, 2 * wide + zoom : 2 * wide + 2 * zoom].all()
    assert (sheet[high - 1, :, 3] == 0).all() and (sheet[:, wide - 1, 3] == 0).all()


def test_a_large_grid_shows_some_positions_only():
    sheet = position_sheet(np.zeros((37, 5, 37, 5)))
    assert (sheet.height, sheet.width) == (TILES * (37 + GAP) - GAP, 5 * (5 + GAP) - GAP)
