"""CIFAR's files: the pickles are read, and run nothing."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.cli import main
from patchword.data.decode import decode
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.errors import DataError

NAMES = ["cat", "dog"]


def opened(where, channels=3):
    return open_data(where, pixels=Pixels(channels=channels), seed=0)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def write(folder, train, test, *, hundred=False, protocol=2, binary=False):
    """Write a release of CIFAR's, as its authors do: bytes for keys where the pickle is old."""
    folder.mkdir(parents=True, exist_ok=True)
    key = b"fine_labels" if hundred else b"labels"

    def dump(name, value):
        (folder / name).write_bytes(pickle.dumps(value, protocol=protocol))

    def batch(pixels):
        labels = [n % 2 for n in range(len(pixels))]
        return {b"data": pixels, key: labels, b"filenames": [b"x"] * len(pixels)}

    names = b"fine_label_names" if hundred else b"label_names"
    if binary:
        for name, pixels in {**train, **test}.items():
            labels = np.arange(len(pixels), dtype=np.uint8)[:, None] % 2
            head = [labels * 0 + 7, labels] if hundred else [labels]
            np.concatenate([*head, pixels], axis=1).tofile(folder / name)
        text = "".join(f"{name}\n" for name in NAMES) + "\n"
        (folder / ("fine_label_names.txt" if hundred else "batches.meta.txt")).write_text(text)
        return folder
    for name, pixels in {**train, **test}.items():
        dump(name, batch(pixels))
    dump("meta" if hundred else "batches.meta", {names: [name.encode() for name in NAMES]})
    return folder


RELEASES = {
    "10": (False, False, [f"data_batch_{n}" for n in range(1, 6)], "test_batch"),
    "100": (True, False, ["train"], "test"),
    "10 binary": (False, True, [f"data_batch_{n}.bin" for n in range(1, 6)], "test_batch.bin"),
    "100 binary": (True, True, ["train.bin"], "test.bin"),
}


@pytest.mark.parametrize(("hundred", "binary", "train", "test"), RELEASES.values(), ids=RELEASES)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_release(tmp_path, hundred, binary, train, test, protocol):
    folder = tmp_path / "cifar-10-batches-py"
    pixels = {name: images(4, seed) for seed, name in enumerate(train)}
    write(folder, pixels, {test: images(3, 9)}, hundred=hundred, binary=binary, protocol=protocol)
    for where in (folder, tmp_path):
        data = opened(where)
        assert data.train.classes == ("cat", "dog") and data.notes == ()
        assert (len(data.train), len(data.test)) == (4 * len(train), 3)
        assert data.train.labels.tolist() == [0, 1, 0, 1] * len(train)
        whole = np.concatenate(list(pixels.values())).reshape(-1, 3, 32, 32)
        assert np.array_equal(data.train.images, whole)
        assert np.array_equal(data.test.images, images(3, 9).reshape(-1, 3, 32, 32))
    grey = opened(folder, 1).train.read(1)
    picture = Image.fromarray(np.ascontiguousarray(whole[1].transpose(1, 2, 0)))
    assert torch.equal(grey, decode(picture, Pixels(channels=1)))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_that_would_run_something_are_refused(tmp_path, capsys):
    folder = write(tmp_path / "c", {"data_batch_1": images(2)}, {"test_batch": images(2)})
    mark = tmp_path / "was-run"
    for value in (Evil(mark), {b"data": Evil(mark), b"labels": [0]}, [Evil(mark)]):
        (folder / "data_batch_1").write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match=r"asks for posix.mkdir|asks for nt.mkdir"):
            opened(folder)
    assert main(["train", str(folder), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not mark.exists()


WRONG = {
    "no dictionary": ([1, 2], "holds no dictionary"),
    "no labels": ({b"data": images(2)}, "no data with labels"),
    "another shape": ({b"data": images(2)[:, :9].copy(), b"labels": [0, 1]}, "do not fit"),
    "another type": ({b"data": images(2).astype(np.int16), b"labels": [0, 1]}, "do not fit"),
    "objects": ({b"data": np.array([None, 1]), b"labels": [0, 1]}, "do not fit"),
    "fewer labels": ({b"data": images(2), b"labels": [0]}, "do not fit"),
    "labels of another type": ({b"data": images(2), b"labels": [0, "x"]}, "do not fit"),
    "an unknown class": ({b"data": images(2), b"labels": [0, 2]}, "a label that is none of 2"),
}


@pytest.mark.parametrize(("value", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(tmp_path, value, said):
    folder = write(tmp_path / "c", {"data_batch_1": images(2)}, {"test_batch": images(2)})
    (folder / "data_batch_1").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=said):
        opened(folder)


def test_broken_files(tmp_path):
    folder = write(tmp_path / "c", {"data_batch_1": images(2)}, {"test_batch": images(2)})
    whole = (folder / "data_batch_1").read_bytes()
    for body in (b"", whole[:100], b"\x80\x02r\xff\xff\xff\x00", b"text"):
        (folder / "data_batch_1").write_bytes(body)
        with pytest.raises(DataError, match="get it again"):
            opened(folder)
    (folder / "data_batch_1").write_bytes(whole)
    assert "data_batch_2, data_batch_3" in opened(folder).notes[0]
    binary = write(tmp_path / "b", {"data_batch_1.bin": images(2)}, {}, binary=True)
    (binary / "data_batch_1.bin").write_bytes(b"x" * 3074)
    with pytest.raises(DataError, match="no multiple of 3073"):
        opened(binary)
