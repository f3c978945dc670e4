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


@pytest.mark.parametrize(
    ("column", "kind", "classes", "targets"),
    [
        ([["b"], [], ["a", "b"], ["a"]], "labels", ("a", "b"), [[0, 1], [0, 0], [1, 1], [1, 0]]),
        ([[2, 0], [0], [], [2]], "labels", ("0", "2"), [[1, 1], [1, 0], [0, 0], [0, 1]]),
        ([0.5, 1.0, 2.5, -3.0], "values", ("label",), [[0.5], [1], [2.5], [-3]]),
        (
            [{"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}] * 2,
            "shares",
            ("a", "b"),
            [[0.25, 0.75], [1, 0]] * 2,
        ),
        ([None, "b", "a", "b"] * 10, "class", ("a", "b"), None),
    ],
)
def test_what_parquet_knows_of_pictures(tmp_path, column, kind, classes, targets):
    column = column if targets else ["a", "b"] * 20 + column[:1]
    write_parquet(tmp_path / "train.parquet", column)
    data = opened(tmp_path)
    assert (data.train.kind, data.train.classes) == (kind, classes)
    if targets is None:
        assert data.notes == ("1 row is left out (has no label): train[40]",)
    else:
        assert data.train.targets.tolist() == targets


def test_parquet_s_columns_are_named(tmp_path):
    table = {"photo": [encoded(k) for k in range(4)], "sort": ["a;b", "b", "a", ""]}
    table |= {"x": [1.5, 2, 3, 4], "y": [7, 6, 5, 4]}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")

    def named(*columns):
        return open_data(tmp_path, pixels=Pixels(), seed=0, columns=columns).train

    with pytest.raises(DataError, match="say with --columns path=NAME"):
        named()
    with pytest.raises(DataError, match="say with --columns label=NAME"):
        named("path=photo")
    assert named("path=photo", "value=x,y").targets.tolist() == [[1.5, 7], [2, 6], [3, 5], [4, 4]]
    found = named("path=photo", "label=sort", "separator=;")
    assert found.classes == ("a", "b") and found.targets.tolist() == [
        [1, 1],
        [0, 1],
        [1, 0],
        [0, 0],
    ]
    with pytest.raises(DataError, match="leave split=x out"):
        named("path=photo", "split=x")


def test_parquet_s_columns_of_numbers(tmp_path):
    rows = {"image": [encoded(k) for k in range(3)]}
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({**rows, "a": [0.5, 0, 1], "b": [0.5, 1, 0]}), path)
    assert opened(tmp_path).train.kind == "shares"
    pq.write_table(pa.table({**rows, "a": [1, 0, 1], "b": [1, 1, 0]}), path)
    assert opened(tmp_path).train.kind == "labels"
    pq.write_table(pa.table({**rows, "width": [10, 20, 30], "height": [1, 2, 3]}), path)
    with pytest.raises(DataError, match="say with --columns value=width,height"):
        opened(tmp_path)


def test_parquet_that_is_refused(tmp_path):
    path = tmp_path / "train-0.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataError, match=r"has the columns 'text': say with --columns path=NAME"):
        opened(tmp_path)
    pq.write_table(pa.table({"image": [1], "label": [0]}), path)
    with pytest.raises(DataError, match="encoded bytes"):
        opened(tmp_path)
    write_parquet(path, ["a", "b"])
    write_parquet(tmp_path / "test-0.parquet", ["a", "c"])
    with pytest.raises(DataError, match=r"test\[1\] has 'c'"):
        opened(tmp_path)
    pq.write_table(
        pa.table({"image": [b"", None], "label": [0, 1]}, schema=None), tmp_path / "test-0.parquet"
    )
    write_parquet(path, [0, 1])
    for index in range(2):
        with pytest.raises(ImageError, match=rf"test\[{index}\]"):
            opened(tmp_path).test.read(index)
