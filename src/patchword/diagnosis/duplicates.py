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
from patchword.diagnosis.nearest import STRIP, largest

NEAREST = 10  # pictures of which the last one tells how crowded it is around a picture
FAR = 0.3  # distance of near duplicates at most
CROWD = 0.25  # the same as a share of the distance to the last of the nearest
SAME = 0.03  # distance at which nothing else is asked
SHIFT = 1.5  # cells of the small copy that a crop may move its edges by
ASPECT = 0.12  # by which the logarithms of their aspect ratios may differ
FREQUENCIES = 8  # per axis
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


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
    each = apart(smalls, found)
    crowd = each.max(axis=1) if count > NEAREST else np.full(count, np.inf)
    around, plain = np.minimum(crowd[first], crowd[second]), each.ravel()
    aspects = np.log(sizes[:, 0] / sizes[:, 1])
    alike = np.abs(aspects[first] - aspects[second]) < ASPECT
    likely = np.flatnonzero((first != second) & alike & (plain < 0.9 * around) & (plain < 0.9))
    pairs = np.sort(np.stack([first[likely], second[likely]], axis=1), axis=1)
    _, once = np.unique(pairs, axis=0, return_index=True)
    likely = likely[once]
    moved = aligned(smalls, first[likely], second[likely], flipped[likely])
    distance = np.minimum(plain[likely], moved)
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
    memory = torch.empty(3, STRIP, count)
    for start in range(0, count, STRIP):
        block = slice(start, start + STRIP)
        own = torch.arange(min(STRIP, count - start))
        upright, turned, likeness = memory[:, : len(own)]
        torch.mm(even[block], even.T, out=upright)
        torch.mm(odd[block], odd.T, out=turned)
        torch.abs(turned, out=likeness).add_(upright)
        likeness[own, own + start] = -torch.inf
        best = largest(likeness, kept)
        indices[block] = best.numpy()
        mirrored[block] = (turned.gather(1, best) < 0).numpy()
        if watch is not None:
            watch("comparing pictures", start + len(own), count)
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


def apart(smalls: UInt8[np.ndarray, "n s s 3"], found: Neighbours) -> Float32[np.ndarray, "n k"]:
    """Return the distances to the nearest after the best change of brightness and contrast."""
    distances = np.empty(found.indices.shape, dtype=np.float32)
    for start in range(0, len(smalls), STRIP):
        block = slice(start, start + STRIP)
        one = torch.from_numpy(smalls[block]).float()
        others = torch.from_numpy(smalls[found.indices[block]]).float().flatten(2)
        one -= one.mean(dim=(1, 2, 3), keepdim=True)
        others -= others.mean(dim=2, keepdim=True)
        products = torch.stack([one, one.flip(2)], dim=1).flatten(2) @ others.mT
        product = products[:, 0].where(torch.from_numpy(~found.mirrored[block]), products[:, 1])
        squares = one.square().sum(dim=(1, 2, 3))[:, None] * others.square().sum(dim=2)
        likeness = product / squares.sqrt().clamp(min=1e-6)
        distances[block] = (1 - likeness.clamp(0, 1).square()).sqrt().numpy()
    return distances


def aligned(
    smalls: UInt8[np.ndarray, "n s s 3"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    flipped: Bool[np.ndarray, " pairs"],
) -> Float32[np.ndarray, " pairs"]:
    """Return the distance of pairs after the best small shift and stretch as well, 0 to 1.

    One step of Lucas and Kanade's registration: the first picture is explained by the second, its
    slopes, and its slopes times the place along each axis.
    """
    place = ((torch.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2))[:, None]
    found = [torch.empty(0)]
    for start in range(0, len(first), STRIP):
        block = slice(start, start + STRIP)
        one, other = (torch.from_numpy(smalls[rows[block]]).float() for rows in (first, second))
        other = other.where(~torch.from_numpy(flipped[block])[:, None, None, None], other.flip(2))
        down, across = torch.gradient(other, dim=(1, 2))
        causes = [other, down, across, down * place[:, None], across * place, torch.ones_like(one)]
        causes = torch.stack(causes, dim=1).flatten(2)
        wanted = one.flatten(1)[:, :, None]
        squares = causes @ causes.mT + 1e-3 * torch.eye(6)
        by = torch.linalg.solve(squares, causes @ wanted)
        left = (wanted - causes.mT @ by).square().sum(dim=(1, 2))
        whole = (wanted - wanted.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
        shifts = by[:, 1:5, 0].abs() / by[:, :1, 0].clamp(min=1e-6)
        edges = torch.maximum(shifts[:, 0] + shifts[:, 2], shifts[:, 1] + shifts[:, 3])
        within = (edges <= SHIFT) & (by[:, 0, 0] > 0)
        found.append((left / whole.clamp(min=1e-6)).sqrt().where(within, torch.ones(())))
    return torch.cat(found).numpy()


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
