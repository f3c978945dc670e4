"""The quarantine: what is named is left out, what is unknown is refused."""

import pytest

from patchword.data.decode import Pixels
from patchword.data.open import open_data
from patchword.data.quarantine import leave_out, read_quarantine, write_quarantine
from patchword.errors import DataError
from tests.data.pictures import folder


@pytest.fixture
def data(tmp_path):
    folder(tmp_path / "photos", {"train/a": 3, "train/b, c": 3, "val/a": 2})
    return open_data(tmp_path / "photos", pixels=Pixels(), seed=0)


def test_names_are_left_out_of_every_split(data, tmp_path):
    names = ["train/b, c/1.jpg", "val/a/0.jpg"]
    write_quarantine(tmp_path / "q.csv", [(name, "", "constant", "why") for name in names])
    left, lost = leave_out(data, tmp_path / "q.csv")
    assert lost == {"train": 1, "validation": 1}
    assert [left.validation.name(i) for i in range(len(left.validation))] == ["val/a/1.jpg"]
    assert names[0] not in [left.train.name(i) for i in range(len(left.train))]
    assert left.train.fingerprint() != data.train.fingerprint()
    assert left.train.labels.tolist() == [0, 0, 0, 1, 1]


def test_a_plain_list_will_do(data, tmp_path):
    (tmp_path / "q.txt").write_text("train/a/0.jpg\n\ntrain/a/1.jpg\n")
    assert leave_out(data, tmp_path / "q.txt")[1] == {"train": 2, "validation": 0}


def test_any_name_comes_back(tmp_path):
    names = ['a,"b".jpg', "two\nlines.jpg", "no text \udcff.jpg", "file"]
    write_quarantine(tmp_path / "q.csv", [(name, "", "", "") for name in names])
    assert read_quarantine(tmp_path / "q.csv") == names


def test_an_unknown_name_is_refused_in_one_line(data, tmp_path):
    (tmp_path / "q.csv").write_text("train/a/0.jpg\ntrain/a/9.jpg\ntrain/z/0.jpg\n")
    with pytest.raises(DataError, match=r"no picture 'train/a/9.jpg', nor 1 other") as caught:
        leave_out(data, tmp_path / "q.csv")
    assert "\n" not in str(caught.value)


def test_a_split_is_not_emptied(data, tmp_path):
    (tmp_path / "q.csv").write_text("val/a/0.jpg\nval/a/1.jpg\n")
    with pytest.raises(DataError, match="leaves no picture in validation"):
        leave_out(data, tmp_path / "q.csv")


def test_a_missing_list_is_an_error(data, tmp_path):
    with pytest.raises(DataError, match="No such file"):
        leave_out(data, tmp_path / "q.csv")
