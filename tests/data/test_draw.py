"""Addressed randomness: a known generator, and numbers that depend on their address alone."""

import numpy as np
import pytest

from patchword.data.draw import Address, Stream, permutation, philox, uniforms

ONES, PI = 0xFFFFFFFF, (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "result"),
    [  # the generator's own test vectors
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (PI, (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_philox_is_philox(counter, key, result):
    words = philox(tuple(np.array([c]) for c in counter), np.array(key, dtype=np.uint32))
    assert words.tolist() == [list(result)]


def test_a_number_depends_on_its_address_only():
    samples = np.arange(50)
    whole = uniforms(3, Stream.CROP, 2, samples, 1, 10)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(uniforms(3, Stream.CROP, 2, samples[order], 1, 10), whole[order])
    assert np.array_equal(uniforms(3, Stream.CROP, 2, 7, 1, 10), whole[7:8])
    assert np.array_equal(uniforms(3, Stream.CROP, 2, samples, 1, 3), whole[:, :3])
    views = Address(3, 2, samples, np.full(50, 1))
    assert np.array_equal(views.uniforms(Stream.CROP, 10), whole)


def test_every_part_of_an_address_counts():
    base = dict(seed=0, stream=Stream.CROP, epoch=0, samples=0, views=0, count=4)
    others = [dict(seed=1), dict(stream=Stream.FLIP), dict(epoch=1), dict(samples=1), dict(views=1)]
    drawn = [tuple(uniforms(**(base | other))[0]) for other in [{}, *others]]
    assert len(set(drawn)) == len(drawn)


def test_numbers_are_uniform_and_open():
    drawn = uniforms(0, Stream.ERASE, 0, np.arange(20_000), 0, 8)
    assert drawn.min() > 0 and drawn.max() < 1
    assert np.allclose(drawn.mean(axis=0), 0.5, atol=0.01)
    assert np.allclose(drawn.var(axis=0), 1 / 12, atol=0.003)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(8)).max() < 0.03
    counts, _ = np.histogram(drawn, bins=64, range=(0, 1))
    assert ((counts - 2500) ** 2 / 2500).sum() < 120  # chi squared, 63 degrees of freedom


def test_an_epoch_visits_everything_in_an_order_of_its_own():
    first, second = permutation(0, 0, 1000), permutation(0, 1, 1000)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert (first == second).mean() < 0.01
    assert not first.flags.writeable
    assert permutation(5, 3, 6).tolist() == permutation.__wrapped__(5, 3, 6).tolist()
