"""Duplicates: the same pixels, and nearly the same ones, in a split or across splits.

Near duplicates are sought among the ten nearest pictures of each, by the low frequencies of a
cosine transform (as pHash has them, but as numbers rather than bits). What decides is the distance:
the share of a small copy's variation that the other one does not explain, after the best change of
brightness and contrast and a shift or stretch of about a cell, as a crop makes it. It must be
short, and short beside the distance to the tenth nearest picture: where all pictures are alike, as
grey shirts are, two that are alike are no duplicates.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8

from patchword.diagnosis.examine import SIDE, Examined, Watch

NEAREST = 10  # pictures of which the last one tells how crowded it is around a picture
FAR = 0.3  # distance of near duplicates at most
CROWD = 0.25  # the same as a share of the distance to the last of the nearest
SAME = 0.03  # distance at which nothing else is asked
SHIFT = 1.5  # cells of the small copy that a crop may move its edges by
ASPECT = 0.12  # by which the logarithms of their aspect ratios may differ
FREQUENCIES = 8  # per axis
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
BLOCK = 1024  # pictures compared with all others at a time


class Neighbours(NamedTuple):
    """The pictures nearest to each, by their low frequencies; the nearest first."""

    indices: Int[np.ndarray, "n k"]
    mirrored: Bool[np.ndarray, "n k"]  # nearer when flipped left to right


@dataclass(frozen=True)
class Group:
    """Pictures that show the same, by their rows."""

    rows: tuple[int, ...]
    exact: bool  # the same pixels, all of them
    distance: float = 0.0  # of those linked, the largest: 0 the same, 1 nothing alike


def exact(examined: Examined) -> list[Group]:
    """Find pictures of the same size and the same pixels once upright; constant ones aside."""
    found = defaultdict[bytes, list[int]](list)
    for row in np.flatnonzero(examined.readable & ~examined.constant).tolist():
        found[examined.rows[row].digest].append(row)
    return [Group(tuple(rows), exact=True) for rows in found.values() if len(rows) > 1]


def near(examined: Examined, same: list[Group], *, watch: Watch | None = None) -> list[Group]:
    """Find nearly the same pixels: encoded again, resized, brightened, cropped or flipped.

    Args:
        examined: the pictures; those that cannot be read or are constant are passed over.
        same: from `exact`; the first of each stands for the others.
        watch: is told how far it is.
    """
    passed = {row for group in same for row in group.rows[1:]}
    usable = np.flatnonzero(examined.readable & ~examined.constant).tolist()
    rows = np.array([row for row in usable if row not in passed], dtype=np.int64)
    if len(rows) < 2:
        return []
    smalls = np.stack([np.asarray(examined.rows[row].small) for row in rows.tolist()])
    sizes = np.array([examined.rows[row].header.size for row in rows.tolist()])
    return list(_grouped(rows, *links(smalls, sizes, watch)))


def links(
    smalls: UInt8[np.ndarray, "n s s 3"],
    sizes: Int[np.ndarray, "n 2"],
    watch: Watch | None = None,
) -> tuple[Int[np.ndarray, "links 2"], Float[np.ndarray, " links"]]:
    """Return the pairs of near duplicates and their distances."""
    found = neighbours(smalls, watch)
    count, nearest = found.indices.shape
    first, second = np.repeat(np.arange(count), nearest), found.indices.ravel()
    flipped = found.mirrored.ravel()
    plain = apart(smalls, first, second, flipped)
    crowd = plain.reshape(count, nearest).max(axis=1)
    crowd = np.full(count, np.inf) if count <= NEAREST else crowd
    around = np.minimum(crowd[first], crowd[second])
    aspects = np.log(sizes[:, 0] / sizes[:, 1])
    alike = np.abs(aspects[first] - aspects[second]) < ASPECT
    likely = np.flatnonzero((first != second) & alike & (plain < 0.9 * around) & (plain < 0.9))
    pairs = np.sort(np.stack([first[likely], second[likely]], axis=1), axis=1)
    _, once = np.unique(pairs, axis=0, return_index=True)
    likely = likely[once]
    distance = aligned(smalls, first[likely], second[likely], flipped[likely])
    limit = np.maximum(np.minimum(FAR, CROWD * around[likely]), SAME)
    taken = distance <= limit
    return pairs[once][taken], distance[taken]


def neighbours(smalls: UInt8[np.ndarray, "n s s 3"], watch: Watch | None = None) -> Neighbours:
    """Find each picture's nearest, flipped or not.

    Flipping changes the sign of every second frequency along a row, so the product of two
    pictures' even parts, plus that of their odd parts, is how alike they are, and minus it is how
    alike one is to the other's mirror image.
    """
    even, odd = (torch.from_numpy(part) for part in frequencies(smalls))
    count = len(even)
    kept = min(NEAREST, count - 1)
    indices = np.empty((count, kept), dtype=np.int64)
    mirrored = np.empty((count, kept), dtype=bool)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        upright, turned = even[block] @ even.T, odd[block] @ odd.T
        likeness = upright + turned.abs()
        own = torch.arange(len(likeness))
        likeness[own, own + start] = -torch.inf
        best = likeness.topk(kept, dim=1).indices
        indices[block] = best.numpy()
        mirrored[block] = (turned.gather(1, best) < 0).numpy()
        if watch is not None:
            watch("comparing pictures", min(start + BLOCK, count), count)
    return Neighbours(indices, mirrored)


def frequencies(
    smalls: UInt8[np.ndarray, "n s s 3"],
) -> tuple[Float32[np.ndarray, "n even"], Float32[np.ndarray, "n odd"]]:
    """Return the low frequencies of the luma, without its mean, of length one together."""
    luma = smalls.astype(np.float32) @ np.array(LUMA, dtype=np.float32)
    places = (np.arange(SIDE) + 0.5) / SIDE
    cosines = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * places).astype(np.float32)
    found = cosines @ luma @ cosines.T
    found[:, 0, 0] = 0
    found[:, 0] /= np.sqrt(2)  # the cosines of frequency 0 are longer than the others
    found[:, :, 0] /= np.sqrt(2)
    found /= np.maximum(np.linalg.norm(found, axis=(1, 2), keepdims=True), 1e-6)
    count = len(found)
    return found[:, :, 0::2].reshape(count, -1), found[:, :, 1::2].reshape(count, -1)


def apart(
    smalls: UInt8[np.ndarray, "n s s 3"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    flipped: Bool[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Return the distance of pairs after the best change of brightness and contrast, 0 to 1."""
    found = [np.empty(0)]
    for one, other in _pairs(smalls, first, second, flipped):
        one, other = (x - x.mean(axis=(1, 2, 3), keepdims=True) for x in (one, other))
        product, *squares = (
            np.einsum("nijc,nijc->n", x, y) for x, y in ((one, other), (one, one), (other, other))
        )
        likeness = product / np.maximum(np.sqrt(squares[0] * squares[1]), 1e-6)
        found.append(np.sqrt(1 - np.clip(likeness, 0, 1) ** 2))
    return np.concatenate(found)


def aligned(
    smalls: UInt8[np.ndarray, "n s s 3"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    flipped: Bool[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Return the distance of pairs after the best small shift and stretch as well, 0 to 1.

    One step of Lucas and Kanade's registration: the first picture is explained by the second, its
    slopes, and its slopes times the place along each axis.
    """
    centred = ((np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)
    found = [apart(smalls, first, second, flipped)]
    moved = [np.empty(0)]
    for one, other in _pairs(smalls, first, second, flipped):
        down, across = np.gradient(other, axis=(1, 2))
        stretched = (down * centred[:, None, None], across * centred[None, :, None])
        causes = np.stack([other, down, across, *stretched, np.ones_like(other)], axis=-1).reshape(
            len(one), -1, 6
        )
        wanted = one.reshape(len(one), -1, 1)
        squares = causes.transpose(0, 2, 1) @ causes + 1e-3 * np.eye(6, dtype=np.float32)
        by = np.linalg.solve(squares, causes.transpose(0, 2, 1) @ wanted)
        left = np.square(wanted - causes @ by).sum(axis=(1, 2))
        whole = np.square(wanted - wanted.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
        shifts = np.abs(by[:, 1:5, 0]) / np.maximum(by[:, :1, 0], 1e-6)
        edges = np.maximum(shifts[:, 0] + shifts[:, 2], shifts[:, 1] + shifts[:, 3])
        within = (edges <= SHIFT) & (by[:, 0, 0] > 0)
        moved.append(np.where(within, np.sqrt(left / np.maximum(whole, 1e-6)), 1.0))
    return np.minimum(found[0], np.concatenate(moved))


def _pairs(
    smalls: UInt8[np.ndarray, "n s s 3"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    flipped: Bool[np.ndarray, " pairs"],
) -> Iterator[tuple[Float32[np.ndarray, "b s s 3"], Float32[np.ndarray, "b s s 3"]]]:
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        other = smalls[second[block]]
        turned = flipped[block]
        other[turned] = other[turned, :, ::-1]
        yield smalls[first[block]].astype(np.float32), other.astype(np.float32)


def _grouped(
    rows: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, "links 2"],
    distances: Float[np.ndarray, " links"],
) -> Iterator[Group]:
    """Join pairs that share a picture."""
    joined = {place: {place} for place in pairs.ravel().tolist()}
    longest = dict.fromkeys(joined, 0.0)
    for (one, other), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
        members = joined[one] | joined[other]
        reach = max(distance, *(longest[place] for place in members))
        for place in members:
            joined[place], longest[place] = members, reach
    for place, members in sorted(joined.items()):
        if place == min(members):
            found = rows[sorted(members)].tolist()
            yield Group(tuple(found), exact=False, distance=longest[place])
