"""idx and parquet files: what is read, and what is refused before it is believed."""

import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.errors import DataError, ImageError
from tests.data.pictures import smooth

GREY = Pixels(channels=1)


def opened(where, pixels=GREY):
    return open_data(where, pixels=pixels, seed=0)


def idx(array, sizes=None):
    shape = sizes or array.shape
    return bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (6, 4, 5), np.uint8), np.array([0, 1, 2, 0, 1, 2], np.uint8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_idx(tmp_path, arrays, packed, separator):
    images, labels = arrays
    for split, count in (("train", 6), ("t10k", 2)):
        for kind, array in ((f"images{separator}idx3", images), (f"labels{separator}idx1", labels)):
            body = idx(array[:count])
            path = tmp_path / f"{split}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(body) if packed else body)
    data = opened(tmp_path)
    assert (len(data.train), len(data.test)) == (6, 2)
    assert np.array_equal(data.train.images[:, 0], images)
    assert data.train.labels.tolist() == labels.tolist()
    assert data.train.classes == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("shirt\nbag\nT-shirt/top\n")
    assert opened(tmp_path).test.classes[2] == "T-shirt/top"
    assert opened(tmp_path, Pixels()).train.read(1).shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no idx file"),
        (b"\x00\x00\x0d\x03" + bytes(12), "no idx file"),
        (idx(np.zeros(119, np.uint8), (6, 4, 5)), "states 120 bytes"),
        (idx(np.zeros(121, np.uint8), (6, 4, 5)), "holds more"),
        (idx(np.zeros(9, np.uint8), (4_000_000_000, 60_000, 60_000)), "more than it can hold"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_lie(tmp_path, arrays, body, message, packed):
    suffix = ".gz" if packed else ""
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(arrays[1]))
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(
        gzip.compress(body) if packed else body
    )
    with pytest.raises(DataError, match=f"{message}|states"):
        opened(tmp_path)


def test_idx_bombs_and_broken_archives(tmp_path, arrays):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(arrays[1]))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for packed in (gzip.compress(idx(arrays[0]) + bytes(50_000_000)), b"no gzip"):
        path.write_bytes(packed)
        with pytest.raises(DataError):
            opened(tmp_path)
    path.write_bytes(gzip.compress(idx(arrays[0]))[:-20])
    with pytest.raises(DataError, match="get it again"):
        opened(tmp_path)


def test_idx_counts_and_classes_must_agree(tmp_path, arrays):
    images, labels = arrays
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    with pytest.raises(DataError, match="no labels file for train"):
        opened(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels[:5]))
    with pytest.raises(DataError, match="6 pictures but 5 labels"):
        opened(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="only 2 classes"):
        opened(tmp_path)


def encoded(seed):
    file = io.BytesIO()
    Image.fromarray(smooth(6, 7, seed)).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, labels, names=None, column="image"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": encoded(k), "path": None} for k in range(len(labels))]
    table = pa.table({column: rows, "label": labels})
    if names:
        feature = {"names": names, "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)


def test_parquet(tmp_path):
    write_parquet(tmp_path / "data/train-00000-of-00002.parquet", [1, 0], ["cat", "dog"])
    write_parquet(tmp_path / "data/train-00001-of-00002.parquet", [1], ["cat", "dog"])
    write_parquet(tmp_path / "data/val-00000-of-00001.parquet", [0], ["cat", "dog"])
    data = opened(tmp_path, Pixels())
    assert data.train.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]
    assert np.array_equal(data.train.read(1).permute(1, 2, 0), smooth(6, 7, 1))
    assert np.array_equal(data.train.read(2).permute(1, 2, 0), smooth(6, 7, 0))
    assert data.train.header(2).size == (6, 7)
    assert data.validation.labels.tolist() == [0]
    assert data.test is None


def test_parquet_s_class_names(tmp_path):
    write_parquet(tmp_path / "train.parquet", ["b", "a", "b"], column="img")
    assert opened(tmp_path).train.classes == ("a", "b")
    write_parquet(tmp_path / "train.parquet", [2, 0, 0])
    assert opened(tmp_path).train.classes == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("x\ny\nz\n")
    assert opened(tmp_path).train.classes == ("x", "y", "z")


def test_parquet_that_is_refused(tmp_path):
    path = tmp_path / "train-0.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match="wanted a column 'image'"):
        opened(tmp_path)
    pq.write_table(pa.table({"image": [1], "label": [0]}), path)
    with pytest.raises(DataError, match="encoded bytes"):
        opened(tmp_path)
    write_parquet(path, ["a", "b"])
    write_parquet(tmp_path / "test-0.parquet", ["a", "c"])
    with pytest.raises(DataError, match=r"test\[1\] has label 'c'"):
        opened(tmp_path)
    pq.write_table(
        pa.table({"image": [b"", None], "label": [0, 1]}, schema=None), tmp_path / "test-0.parquet"
    )
    write_parquet(path, [0, 1])
    for index in range(2):
        with pytest.raises(ImageError, match=rf"test\[{index}\]"):
            opened(tmp_path).test.read(index)
