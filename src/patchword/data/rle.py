"""Masks as COCO's files have them: runs of pixels, column by column, and outlines.

An outline is filled exactly as pycocotools fills it: its edges are drawn on a grid five times as
fine, and a column of pixels changes between outside and inside where an edge crosses its middle.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from patchword.errors import DataError

FINER = 5


def decode_runs(
    counts: str | bytes | Sequence[int], rows: int, columns: int
) -> Bool[np.ndarray, "h w"]:
    """Return a mask from the lengths of its runs, the first of which is outside.

    Args:
        counts: the lengths, or COCO's characters for them.
        rows: of the picture.
        columns: of the picture.

    Raises:
        DataError: the runs do not fill the picture.
    """
    lengths = np.array(_lengths(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    if lengths.sum() != rows * columns or (lengths < 0).any():
        raise DataError(f"its runs make {lengths.sum()} pixels, not {columns} x {rows}")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(columns, rows).T


def _lengths(text: str | bytes) -> list[int]:
    """Read characters of six bits: five of a number, the least first, and whether more follow.

    From the fourth length on, what is written is the difference to the length before the last.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


def encode_runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Return the lengths of a mask's runs, column by column, the first of which is outside."""
    flat = np.concatenate(([False], mask.T.ravel()))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()


def fill(outline: Sequence[float], rows: int, columns: int) -> Bool[np.ndarray, "h w"]:
    """Fill an outline: x and y of its corners in turn, in pixels from the picture's top left."""
    corners = (FINER * np.array(outline, np.float64).reshape(-1, 2) + 0.5).astype(np.int64)
    ends = np.roll(corners, -1, axis=0)
    drawn = np.concatenate([_edge(*pair) for pair in zip(corners, ends, strict=True)])
    here, there = drawn[:-1], drawn[1:]
    crossed = here[:, 0] != there[:, 0]
    low = np.minimum(here, there)[crossed]
    across = (low[:, 0] + 0.5) / FINER - 0.5
    down = np.ceil(((low[:, 1] + 0.5) / FINER - 0.5).clip(0, rows)).astype(np.int64)
    whole = (across == np.floor(across)) & (across >= 0) & (across <= columns - 1)
    mask = np.zeros((columns, rows), bool)
    if whole.any():
        columns_met = across[whole].astype(np.int64)
        first, last = columns_met.min(), columns_met.max()
        places = (columns_met - first) * rows + down[whole]
        size = (last - first + 1) * rows
        changes = np.bincount(places, minlength=size)[:size]
        mask[first : last + 1] = (np.cumsum(changes) % 2 == 1).reshape(-1, rows)
    return mask.T


def _edge(
    start: Int64[np.ndarray, " 2"], end: Int64[np.ndarray, " 2"]
) -> Int64[np.ndarray, "points 2"]:
    """Return the points of a straight edge, one for each step of its longer side, ends included."""
    by = np.abs(end - start)
    long = 0 if by[0] >= by[1] else 1
    backwards = start[long] > end[long]
    first, last = (end, start) if backwards else (start, end)
    steps = np.arange(by[long] + 1)
    slope = (last[1 - long] - first[1 - long]) / max(by[long], 1)
    points = np.empty((len(steps), 2), np.int64)
    points[:, long] = first[long] + steps
    points[:, 1 - long] = (first[1 - long] + slope * steps + 0.5).astype(np.int64)
    return points[::-1] if backwards else points
