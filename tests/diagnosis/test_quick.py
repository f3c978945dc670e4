"""What the doctor works out quickly is what the plain way gives."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.decode import decode, decode_with_header, header
from patchword.data.pixels import Pixels
from patchword.diagnosis.duplicates import SHIFT, SIDE, Neighbours, aligned, apart, neighbours
from patchword.diagnosis.examine import look_at
from patchword.diagnosis.nearest import largest
from patchword.errors import ImageError
from tests.data.pictures import smooth
from tests.diagnosis.test_doctor import photos

HOSTILE = Path(__file__).parents[3] / "shared/sets/hostile_images"


@pytest.mark.parametrize("n", [1, 9, 63, 64, 65, 200, 1000, 6400])
def test_the_largest_of_each_row(n):
    values = torch.randn(7, n, generator=torch.Generator().manual_seed(n))
    values[:, n // 2] = -torch.inf
    for count in {1, min(n, 10), min(n, 80)}:
        found = largest(values, count)
        assert torch.equal(values.gather(1, found), values.topk(count, dim=1).values)
        assert all(len({*row}) == count for row in found.tolist())


def pictures(count):
    rng = np.random.default_rng(count)
    some = [smooth(SIDE, SIDE, seed=seed) for seed in range(count // 3)]
    changed = [np.clip(p * rng.uniform(0.6, 1.2) + rng.normal(0, 3, p.shape), 0, 255) for p in some]
    turned = [np.roll(p[:, ::-1], 1, axis=0) for p in some]
    return np.stack([*some, *changed, *turned]).astype(np.uint8)


def plain_apart(one, other):
    one, other = (x.astype(np.float64).ravel() for x in (one, other))
    one, other = one - one.mean(), other - other.mean()
    likeness = one @ other / np.sqrt((one @ one) * (other @ other))
    return np.sqrt(1 - np.clip(likeness, 0, 1) ** 2)


def plain_aligned(one, other):
    """Explain one picture by the other, its slopes and its stretches, by least squares."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    place = (np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)
    down, across = np.gradient(other, axis=(0, 1))
    causes = [other, down, across, down * place[:, None, None], across * place[:, None]]
    causes = np.stack([*causes, np.ones_like(other)], axis=-1).reshape(-1, 6)
    by, *_ = np.linalg.lstsq(causes, one.ravel(), rcond=None)
    down, across = (abs(by[1]) + abs(by[3])) / by[0], (abs(by[2]) + abs(by[4])) / by[0]
    if by[0] <= 0 or max(down, across) > SHIFT:
        return 1.0
    left = np.square(one.ravel() - causes @ by).sum()
    return np.sqrt(left / np.square(one - one.mean()).sum())


def test_the_nearest_and_their_distances():
    smalls = pictures(200)
    found = neighbours(smalls)
    distances = apart(smalls, found)
    first = np.repeat(np.arange(len(smalls)), found.indices.shape[1])
    second, flipped = found.indices.ravel(), found.mirrored.ravel()
    moved = aligned(smalls, first, second, flipped)
    assert flipped.any() and not flipped.all() and (moved < 0.1).any()
    for pair, (i, j, mirrored) in enumerate(zip(first, second, flipped, strict=True)):
        other = smalls[j, :, ::-1] if mirrored else smalls[j]
        assert distances.ravel()[pair] == pytest.approx(plain_apart(smalls[i], other), abs=2e-3)
        assert moved[pair] == pytest.approx(plain_aligned(smalls[i], other), abs=2e-3)


def test_the_nearest_do_not_hang_on_how_many_are_compared_at_a_time(monkeypatch):
    smalls = pictures(150)
    monkeypatch.setattr("patchword.diagnosis.duplicates.STRIP", 7)
    some = neighbours(smalls)
    monkeypatch.setattr("patchword.diagnosis.duplicates.STRIP", 1000)
    every = neighbours(smalls)
    assert np.array_equal(some.indices, every.indices)
    assert np.array_equal(some.mirrored, every.mirrored)
    assert np.allclose(apart(smalls, Neighbours(*some)), apart(smalls, every), atol=1e-4)


def once(path, pixels):
    try:
        return decode_with_header(path, pixels)
    except ImageError as error:
        return str(error)


def twice(path, pixels):
    try:
        return header(path, pixels), decode(path, pixels)
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("pixels", [Pixels(), Pixels(decoder="simplejpeg"), Pixels(shrink=16)])
@pytest.mark.skipif(not HOSTILE.exists(), reason="the collection is not there")
def test_one_opening_reads_what_two_do(pixels):
    if pixels.decoder == "simplejpeg":
        pytest.importorskip("simplejpeg")
    with (HOSTILE / "manifest.tsv").open(newline="") as file:
        names = [row[0] for row in csv.reader(file, delimiter="\t")][1:]
    paths = [HOSTILE / name for name in names if (HOSTILE / name).is_file()]
    assert len(paths) > 100
    kinds = set()
    for path in paths:
        found, wanted = once(path, pixels), twice(path, pixels)
        kinds.add(type(wanted))
        if isinstance(wanted, str):
            assert found == wanted
        else:
            assert found[0] == wanted[0] and torch.equal(found[1], wanted[1]), path
    assert kinds == {str, tuple}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("tag", [1, 3, 6])
def test_one_opening_turns_a_png_wherever_it_says_so(tmp_path, tag, behind):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = tmp_path / "turned.png"
    Image.fromarray(smooth(20, 30)).save(path, exif=exif)
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
    if behind:
        end = data.index(b"IEND") - 4
        path.write_bytes(data[:start] + data[stop:end] + data[start:stop] + data[end:])
    found, wanted = once(path, Pixels()), twice(path, Pixels())
    assert found[0] == wanted[0] and torch.equal(found[1], wanted[1])
    assert found[1].shape == ((3, 30, 20) if tag == 6 else (3, 20, 30))


def test_what_is_kept_of_a_picture(tmp_path):
    from patchword.data import open_data

    root = photos(tmp_path, each=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(40, 30)).save(root / "train/cat/turned.jpg", exif=exif)
    Image.fromarray(smooth(20, 30)).convert("L").save(root / "train/cat/grey.jpg")
    source = open_data(root, pixels=Pixels(), seed=0).train
    for index in range(len(source)):
        looked, levels = look_at(source, index), source.read(index).permute(1, 2, 0).numpy()
        assert looked.header == source.header(index)
        assert looked.spread == np.ptp(levels.reshape(-1, 3), axis=0).max()
        resized = Image.fromarray(levels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        assert np.array_equal(looked.small, np.asarray(resized))
    assert {len(look_at(source, i).digest) for i in range(len(source))} == {16}
    gone = root / source.name(0)
    os.truncate(gone, 40)
    assert look_at(source, 0).error.startswith(source.name(0))
