"""Attention in few bytes: what is unpacked is what was packed, pooled or in windows."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from patchword.errors import ConfigError
from patchword.pages import maps
from patchword.pages.maps import Layer, Places, packed, packed_small, pooled, quantised
from tests.pages.inside import reduced, whole, windowed

RNG = np.random.default_rng(0)


def bytes_of(text, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def dense(layer):
    """Lay a layer's weights out over all keys, entry by entry."""
    heads, queries = layer.weights.shape[:2]
    found = np.zeros((heads, queries, layer.keys.count))
    for head in range(heads):
        for query in range(queries):
            for i, weight in enumerate(layer.weights[head, query]):
                place = i if layer.members is None else layer.members[layer.window[query], i]
                if place >= 0:
                    found[head, query, place] += weight
    return found


def unpacked(kept):
    """Read a packed layer as the page's script does."""
    queries, keys = (
        Places(rows=s["rows"], columns=s["columns"], prefix=tuple(s["prefix"]))
        for s in (kept["queries"], kept["keys"])
    )
    across = kept.get("size", keys.count)
    data = bytes_of(kept["data"], np.uint8).reshape(kept["heads"], queries.count, across)
    weights = data / data.sum(-1, keepdims=True)
    window = members = None
    if "members" in kept:
        window = bytes_of(kept["window"], "<i4")
        members = bytes_of(kept["members"], "<i4").reshape(-1, across)
    return Layer(
        name=kept["name"],
        weights=weights,
        queries=queries,
        keys=keys,
        window=window,
        members=members,
    )


@pytest.mark.parametrize("make", [whole, windowed, reduced])
def test_what_is_unpacked_is_what_was_packed(make):
    layer = make(RNG, "block 1")
    (kept,), exact = packed([layer])
    assert exact and kept["name"] == "block 1"
    expected, found = dense(layer), dense(unpacked(kept))
    bound = (expected.max(-1, keepdims=True) / 255).repeat(expected.shape[-1], -1)
    assert np.all(np.abs(found - expected) <= bound * expected.shape[-1] / 2)
    assert np.abs(found - expected).max() < 0.01
    np.testing.assert_allclose(found.sum(-1), 1)


def test_the_greatest_of_a_row_takes_all_the_levels():
    found = quantised(np.array([[[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0]]]))
    assert found.tolist() == [[[255, 128, 128, 0], [0, 0, 0, 0]]]


@pytest.mark.parametrize("make", [whole, windowed, reduced])
@pytest.mark.parametrize("heads", [True, False])
def test_pooling_averages_queries_and_sums_keys(make, heads):
    grid = (20, 18)
    layer = make(RNG, "block 1", grid=grid)
    found = pooled(layer, heads=heads)
    assert (found.queries.rows, found.queries.columns) == (8, 8)
    expected = dense(layer)
    expected = expected if heads else expected.mean(0, keepdims=True)
    prefix, keys = len(layer.queries.prefix), found.keys
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    block = row * 8 // grid[0] * 8 + column * 8 // grid[1]
    rows = expected[:, prefix:][:, block == 11].mean(1)  # of the queries in one block
    krow, kcolumn = np.divmod(np.arange(layer.keys.rows * layer.keys.columns), layer.keys.columns)
    places = krow * keys.rows // layer.keys.rows * keys.columns
    places = places + kcolumn * keys.columns // layer.keys.columns
    want = np.stack([rows[:, prefix:][:, places == i].sum(1) for i in range(keys.count - prefix)])
    np.testing.assert_allclose(found.weights[:, prefix + 11, prefix:], want.T)
    np.testing.assert_allclose(found.weights.sum(-1), 1)


def test_a_window_that_is_not_full_has_its_padding_left_out():
    layer = windowed(RNG, "block 1")
    members = layer.members.copy()
    members[0, 3] = -1
    padded = replace(layer, members=members)
    found = pooled(padded, heads=True)
    lost = layer.weights[:, 0, 3]
    np.testing.assert_allclose(found.weights[:, 0].sum(-1), 1 - lost)


@pytest.mark.parametrize("limit", ["EXACT", "WRITTEN"])
def test_maps_that_are_too_many_are_pooled_and_say_so(monkeypatch, limit):
    layer = whole(RNG, "block 1", grid=(20, 18))
    (kept,), exact = packed([layer])
    assert exact
    size = layer.weights.size if limit == "EXACT" else len(kept["data"])
    monkeypatch.setattr(maps, limit, size - 1)
    (kept,), exact = packed([layer])
    assert not exact and kept["heads"] == 2 and kept["queries"]["rows"] == 8
    assert packed_small([layer])[0]["heads"] == 1


def test_weights_that_do_not_fit_their_places_are_refused():
    layer = whole(RNG, "block 1")
    with pytest.raises(ConfigError, match="25 by 24 places; 25 by 25"):
        replace(layer, weights=layer.weights[..., 1:])
