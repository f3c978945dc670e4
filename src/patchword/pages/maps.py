"""Attention inside a page: whole maps in few bytes, that a page unpacks when it is asked to.

A row of a map, what one place attends to, is kept as bytes relative to its greatest share; as the
shares of a row sum to 1, dividing by the bytes' sum gives them back, to half a 255th of the
greatest. The bytes are deflated and written in base64.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from patchword.errors import ConfigError

EXACT = 6_000_000  # bytes of a picture's maps before they are deflated, up to which none is pooled
WRITTEN = 3_600_000  # letters of them as written: so a page of 16 pictures stays below 8 MB
QUERIES, KEYS = 8, 16  # places a side that pooled maps are pooled to


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where tokens lie on a picture: named ones that lie nowhere, then cells row by row."""

    rows: int
    columns: int
    prefix: tuple[str, ...] = ()  # as in "class token"

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return len(self.prefix) + self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What each place of one layer attends to, in one picture, by head.

    Attributes:
        name: of the layer.
        weights: at least 0; each row sums to 1. Queries are all of `queries`, in order; keys are
            all of `keys`, or those of the query's window.
        queries: the places that attend.
        keys: the places that are attended to.
        window: the window of each query, where there are windows.
        members: which of `keys` each window holds, in the order of the weights; -1 is none.
    """

    name: str
    weights: Float[np.ndarray, "heads n m"]
    queries: Places
    keys: Places
    window: Integer[np.ndarray, " n"] | None = None
    members: Integer[np.ndarray, "windows m"] | None = None

    def __post_init__(self) -> None:
        keys = self.keys.count if self.members is None else self.members.shape[1]
        if self.weights.shape[1:] != (self.queries.count, keys):
            raise ConfigError(
                f"{self.name} has weights of {self.weights.shape[1]} by {self.weights.shape[2]} "
                f"places; {self.queries.count} by {keys} are named"
            )


def packed(layers: Sequence[Layer]) -> tuple[list[dict[str, Any]], bool]:
    """Return all maps of a picture as JSON values, and whether they are exact.

    Where they are too many bytes, queries are averaged over blocks of cells, heads are kept.
    """
    size = sum(layer.weights.size for layer in layers)
    if size <= EXACT:
        whole = [_pack(layer) for layer in layers]
        if sum(len(each["data"]) for each in whole) <= WRITTEN:
            return whole, True
    return [_pack(pooled(layer, heads=True)) for layer in layers], False


def packed_small(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return maps of a picture as JSON values: the mean of the heads, of blocks of cells."""
    return [_pack(pooled(layer, heads=False)) for layer in layers]


def pooled(layer: Layer, *, heads: bool) -> Layer:
    """Average over blocks of queries, and sum over blocks of keys; windows become whole maps.

    Args:
        layer: of which at most `QUERIES` by `QUERIES`, and `KEYS` by `KEYS`, cells are left.
        heads: keep them; else their mean is left.
    """
    weights = layer.weights if heads else layer.weights.mean(axis=0, keepdims=True)
    rows, queries = _blocks(layer.queries, QUERIES)
    columns, keys = _blocks(layer.keys, KEYS)
    if layer.members is None or layer.window is None:
        members = np.broadcast_to(np.arange(layer.keys.count), weights.shape[1:])
    else:
        members = layer.members[layer.window]
    there = members >= 0
    places = (rows[:, None] * keys.count + columns[members])[there]
    count = queries.count * keys.count
    found = np.stack([np.bincount(places, head[there], count) for head in weights])
    found = found.reshape(len(weights), queries.count, keys.count)
    found /= np.maximum(np.bincount(rows, minlength=queries.count), 1)[:, None]
    return Layer(name=layer.name, weights=found, queries=queries, keys=keys)


def quantised(weights: Float[np.ndarray, "heads n m"]) -> UInt8[np.ndarray, "heads n m"]:
    """Write each row in 255ths of its greatest weight."""
    least = np.finfo(np.float32).tiny
    greatest = np.maximum(weights.max(axis=-1, keepdims=True, initial=0), least)
    return np.round(np.clip(weights / greatest, 0, 1) * 255).astype(np.uint8)


def _pack(layer: Layer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": layer.name,
        "heads": len(layer.weights),
        "queries": _side(layer.queries),
        "keys": _side(layer.keys),
        "data": _text(quantised(layer.weights)),
    }
    if layer.members is not None and layer.window is not None:
        found["window"] = _text(layer.window.astype("<i4"))
        found["members"] = _text(layer.members.astype("<i4"))
        found["size"] = layer.members.shape[1]
    return found


def _side(places: Places) -> dict[str, Any]:
    return {"rows": places.rows, "columns": places.columns, "prefix": list(places.prefix)}


def _text(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def _blocks(places: Places, most: int) -> tuple[Integer[np.ndarray, " n"], Places]:
    """Return which block each token is in, and the blocks."""
    prefix = len(places.prefix)
    rows, columns = min(places.rows, most), min(places.columns, most)
    down = np.arange(places.rows) * rows // max(places.rows, 1)
    across = np.arange(places.columns) * columns // max(places.columns, 1)
    cells = (down[:, None] * columns + across).ravel() + prefix
    blocks = Places(rows=rows, columns=columns, prefix=places.prefix)
    return np.concatenate([np.arange(prefix), cells]), blocks
