"""Addressed randomness: every number is a function of where it is used, of nothing before it.

Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a counter
into random bits. The counter is the address (block, view, sample, epoch), the key is made of seed
and stream; so a number does not depend on the batch, the order, or the worker that asks for it.
"""

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt32
from numpy.typing import NDArray

Integers = NDArray[np.int64] | int


class Stream(IntEnum):
    """What a number is for. The values are part of every run: never renumber them."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    AFFINE = 3
    RAND_AUGMENT = 4
    JITTER = 5
    ERASE = 6
    NOISE = 7
    MIX = 8
    SPLIT = 11
    BALANCE = 12
    SHOTS = 16
    CORRUPT = 17
    THREE_AUGMENT = 18
    PSEUDO = 19
    JITTER_SCALE = 30
    SCENE_CROP = 31
    SCENE_SIZES = 32
    LARGE_SCALE = 33
    DISTORT = 34
    SCENE_PART = 35


class Address(NamedTuple):
    """Which views of which samples are drawn for."""

    seed: int
    epoch: int
    samples: Int64[np.ndarray, " n"]
    views: Int64[np.ndarray, " n"]

    def words(self, stream: Stream, count: int) -> UInt32[np.ndarray, "n count"]:
        """Draw `count` words of 32 random bits for each sample; a larger count begins alike."""
        return words(self.seed, stream, self.epoch, self.samples, self.views, count)

    def uniforms(self, stream: Stream, count: int) -> Float64[np.ndarray, "n count"]:
        """Draw `count` numbers in (0, 1) for each sample."""
        return uniforms(self.seed, stream, self.epoch, self.samples, self.views, count)


def uniforms(
    seed: int, stream: Stream, epoch: int, samples: Integers, views: Integers, count: int
) -> Float64[np.ndarray, "n count"]:
    """Draw numbers in (0, 1), the ends excluded, in steps of 2**-32.

    Args:
        seed: of the run, not negative.
        stream: what they are for.
        epoch: below 2**32, as samples and views.
        samples: indices of the samples; one integer is one row.
        views: which view of each sample, one for all or one each.
        count: numbers per sample; a larger count begins with the same ones.
    """
    return (words(seed, stream, epoch, samples, views, count) + 0.5) * 2.0**-32


def words(
    seed: int, stream: Stream, epoch: int, samples: Integers, views: Integers, count: int
) -> UInt32[np.ndarray, "n count"]:
    """Draw words of 32 random bits; arguments as `uniforms`."""
    key = np.random.SeedSequence((seed, stream)).generate_state(2)
    samples, views = np.atleast_1d(samples, views)
    blocks = np.arange(-(-count // 4))
    counter = (blocks, views[:, None], samples[:, None], np.full((1, 1), epoch))
    shape = (max(len(samples), len(views)), len(blocks))
    drawn = philox(tuple(np.broadcast_to(word, shape) for word in counter), key)
    return drawn.reshape(shape[0], -1)[:, :count]


def philox(
    counter: tuple[np.ndarray, ...], key: UInt32[np.ndarray, " 2"]
) -> UInt32[np.ndarray, "... 4"]:
    """Encrypt a counter of four 32-bit words, ten rounds, each word an array of one shape."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = (word.astype(np.uint64) & mask for word in counter)
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(10):
        first = c0 * np.uint64(0xD2511F53)
        second = c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (second >> half) ^ c1 ^ np.uint64(k0),
            second & mask,
            (first >> half) ^ c3 ^ np.uint64(k1),
            first & mask,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


def balanced(
    seed: int, epoch: int, labels: Int64[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return an epoch's order with all classes equally often, and each place's turn.

    A rare class's pictures come several times, each time with the next turn; of a frequent one,
    every epoch takes others. Where classes do not divide n, every epoch favours others.
    """
    n = len(labels)
    drawn = words(seed, Stream.BALANCE, epoch, np.arange(n), 0, 1)[:, 0]
    there = np.unique(labels)
    favoured = np.argsort(drawn[: len(there)], kind="stable")
    members: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    for place, label in zip(np.argsort(favoured), there, strict=True):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(drawn[own], kind="stable")]
        count = n // len(there) + int(place < n % len(there))
        members.append(np.resize(own, count))
        turns.append(np.arange(count) // len(own))
    order = permutation(seed, epoch, n)
    return np.concatenate(members)[order], np.concatenate(turns)[order]


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    """Return the order in which an epoch visits n samples, read-only."""
    high, low = words(seed, Stream.ORDER, epoch, np.arange(n), 0, 2).astype(np.uint64).T
    order = np.argsort(high << np.uint64(32) | low, kind="stable")
    order.flags.writeable = False
    return order
