"""Sources: what layouts are understood, what is refused, and what is said of them."""

import io
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.data.source import ArraySource, Subset, cache, hold_out
from patchword.errors import DataError, ImageError
from tests.data.pictures import folder, smooth

GREY = Pixels(channels=1)


def opened(where, pixels=GREY, seed=0):
    return open_data(where, pixels=pixels, seed=seed)


def paths(source):
    return [source.name(index) for index in range(len(source))]


def test_digits():
    data = opened("digits")
    assert (len(data.train), len(data.test), data.validation) == (1437, 360, None)
    assert data.train.read(0).shape == (1, 8, 8)
    assert data.train.read(0).max() == 239  # 15 of 16
    assert data.test.classes == tuple("0123456789")
    assert opened("digits", Pixels()).train.read(3).shape == (3, 8, 8)


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("held", ["val", "valid", "VALIDATION"])
def test_split_folders(tmp_path, train, held):
    folder(tmp_path, {f"{train}/b": 2, f"{train}/a": 3, f"{held}/b": 1, "test/a": 1, "other/x": 1})
    data = opened(tmp_path)
    assert data.train.classes == data.validation.classes == data.test.classes == ("a", "b")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.validation.labels.tolist() == [1]  # "a" is missing there; the index stays
    assert data.test.name(0) == "test/a/0.jpg"


def test_one_folder_is_split_by_class_and_seed(tmp_path):
    folder(tmp_path, {"a": 10, "b": 5, "c": 2, "d": 1})
    data, again, other = opened(tmp_path), opened(tmp_path), opened(tmp_path, seed=1)
    assert np.bincount(data.validation.labels).tolist() == [2, 1, 1]
    assert np.bincount(data.train.labels).tolist() == [8, 4, 1, 1]
    assert set(paths(data.train)) | set(paths(data.validation)) == {
        f"{name}/{k}.jpg" for name, n in dict(a=10, b=5, c=2, d=1).items() for k in range(n)
    }
    assert paths(data.validation) == paths(again.validation) != paths(other.validation)
    assert "20%" in data.notes[-1] and "seed 0" in data.notes[-1]


def test_a_class_may_be_called_train(tmp_path):
    folder(tmp_path, {"bus": 2, "train": 2})
    assert opened(tmp_path).train.classes == ("bus", "train")


def test_nested_files_are_found_and_others_counted(tmp_path):
    folder(tmp_path, {"a/x/y": 2, "b": 2, "__MACOSX/a": 1, ".git/a": 1})
    for name in ("a/._0.jpg", "a/.hidden.jpg", "a/Thumbs.db", "loose.jpg"):
        (tmp_path / name).write_bytes(b"x")
    data = opened(tmp_path)
    assert data.train.classes == ("a", "b")
    assert sorted(paths(data.train) + paths(data.validation)) == [
        "a/x/y/0.jpg", "a/x/y/1.jpg", "b/0.jpg", "b/1.jpg",
    ]  # fmt: skip
    assert "6 files" in data.notes[0]


def test_odd_names_work(tmp_path):
    names = ["ein Hund", "猫", "line\nbreak", b"latin-\xe9".decode("utf-8", "surrogateescape")]
    folder(tmp_path, dict.fromkeys(names, 2))
    data = opened(tmp_path)
    assert set(data.train.classes) == set(names)
    assert data.train.read(0).shape == (1, 12, 16)
    assert len(data.train.fingerprint()) == 64


def test_link_loops_end_and_links_are_followed(tmp_path):
    folder(tmp_path / "real", {"a": 2})
    folder(tmp_path / "set", {"b": 2})
    os.symlink(tmp_path / "real/a", tmp_path / "set/a")
    os.symlink(tmp_path / "set", tmp_path / "set/b/loop")
    assert opened(tmp_path / "set").train.classes == ("a", "b")


def test_tiny_imagenet_s_validation_folder(tmp_path):
    folder(tmp_path, {"train/n1/images": 2, "train/n2/images": 1, "val/images": 2})
    (tmp_path / "val/val_annotations.txt").write_text("1.jpg\tn1\t0\t0\n0.jpg\tn2\t0\t0\n")
    data = opened(tmp_path)
    assert paths(data.validation) == ["val/images/1.jpg", "val/images/0.jpg"]
    assert data.validation.labels.tolist() == [0, 1]
    annotations = tmp_path / "val/val_annotations.txt"
    annotations.write_text("0.jpg\tn2\t0\n" * 40 + "9.jpg\tn1\t0\n0.jpg\t\n")
    data = opened(tmp_path)
    assert len(data.validation) == 40 and data.validation.labels[0] == 1
    assert "not in val/images): val_annotations.txt:41" in data.notes[0]
    assert "has no label): val_annotations.txt:42" in data.notes[1]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no pictures"),
        ({".": 3}, "3 pictures in no class folder"),
        ({"a": 3}, "single class, 'a'"),
        ({"train/a": 1, "train/b": 1, "test/c": 1}, "test has 'c'"),
        ({"val/a": 1, "val/b": 1}, "val but no train"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "valid/a": 1}, "val and valid"),
    ],
)
def test_layouts_that_are_refused(tmp_path, counts, message):
    with pytest.raises(DataError, match=message) as caught:
        opened(folder(tmp_path, counts))
    assert "\n" not in str(caught.value)


def test_unlabelled_test_pictures_are_left_out(tmp_path):
    folder(tmp_path, {"train/a": 1, "train/b": 1, "test/all": 0, "test": 3})
    data = opened(tmp_path)
    assert data.test is None
    assert "left out" in data.notes[-1]


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="did you mean 'digits'"):
        opened("digit")
    with pytest.raises(DataError, match="is a file"):
        opened(__file__)


def test_fingerprints_follow_contents(tmp_path):
    folder(tmp_path, {"train/a": 2, "train/b": 2})
    first = opened(tmp_path).train.fingerprint()
    assert opened(tmp_path).train.fingerprint() == first
    (tmp_path / "train/a/0.jpg").write_bytes(b"shorter")
    assert opened(tmp_path).train.fingerprint() != first
    digits = opened("digits").train
    assert digits.fingerprint() == opened("digits", Pixels()).train.fingerprint()
    half = np.arange(len(digits) // 2)
    assert Subset(digits, half).fingerprint() != digits.fingerprint()
    images = digits.images.clone()
    images[3, 0, 0, 0] += 1
    other = ArraySource(images, digits.labels, digits.classes, "train")
    assert other.fingerprint() != digits.fingerprint()


def test_cache_keeps_pixels_names_and_what_is_broken(tmp_path):
    folder(tmp_path, {"train/a": 2, "train/b": 2})
    (tmp_path / "train/a/1.jpg").write_bytes(b"broken")
    source = opened(tmp_path, Pixels()).train
    cached = cache(source)
    assert isinstance(cached, ArraySource)
    assert all(torch.equal(cached.read(k), source.read(k)) for k in (0, 2, 3))
    with pytest.raises(ImageError, match="train/a/1"):
        cached.read(1)
    assert not cached.images[1].any()
    assert (paths(cached), cached.fingerprint()) == (paths(source), source.fingerprint())
    assert cache(source, limit=100) is source
    Image.new("RGB", (5, 5)).save(tmp_path / "train/b/9.png")
    uneven = opened(tmp_path).train
    assert cache(uneven) is uneven


def png(seed):
    file = io.BytesIO()
    Image.fromarray(smooth(6, 7, seed)).save(file, "PNG")
    return file.getvalue()


def test_sources_can_be_pickled(tmp_path):
    folder(tmp_path / "f", {"train/a": 2, "train/b": 2})
    (tmp_path / "p").mkdir()
    rows = {"image": [png(k) for k in range(3)], "label": [0, 1, 1]}
    pq.write_table(pa.table(rows), tmp_path / "p/train.parquet")
    for source in (opened(tmp_path / "f").train, opened(tmp_path / "p").train):
        subset = Subset(source, np.array([2, 0]))
        for kept in (source, subset, cache(subset)):
            copy = pickle.loads(pickle.dumps(kept))
            assert torch.equal(copy.read(1), kept.read(1))
            assert copy.name(1) == kept.name(1)


def test_hold_out_is_stratified():
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    kept, held = hold_out(labels, share=0.2, seed=0)
    assert np.bincount(labels[held]).tolist() == [20, 2, 1]
    assert sorted([*kept, *held]) == list(range(113))
