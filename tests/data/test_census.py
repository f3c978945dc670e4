"""The census: counts from labels, sizes and modes from headers."""

from PIL import Image

from patchword.data.census import look
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from tests.data.pictures import folder


def test_a_folder(tmp_path):
    folder(tmp_path, {"train/a": 4, "train/b": 2, "val/a": 1}, size=(12, 16))
    Image.new("L", (40, 30)).save(tmp_path / "train/b/big.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "train/b/small.png")
    (tmp_path / "train/b/broken.jpg").write_bytes(b"broken")
    census = look(open_data(tmp_path, pixels=Pixels(), seed=0))
    train = census.train
    assert (train.count, train.per_class, train.looked) == (9, (4, 5), 9)
    assert (train.smallest, train.median, train.largest) == ((2, 3), (12, 16), (30, 40))
    assert train.modes == (("RGB", 7), ("L", 1))
    assert len(train.unreadable) == 1 and "b/broken.jpg" in train.unreadable[0]
    assert census.validation.per_class == (1, 0)
    assert census.test is None


def test_a_limit_looks_at_all_parts():
    census = look(open_data("digits", pixels=Pixels(), seed=0), limit=10)
    assert (census.train.looked, census.train.count) == (10, 1437)
    assert census.train.modes == (("L", 10),)


def test_only_broken_pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "x.jpg").write_bytes(b"broken")
    train = look(open_data(tmp_path, pixels=Pixels(), seed=0)).train
    assert (train.smallest, train.median, train.modes) == (None, None, ())
    assert len(train.unreadable) == 2
