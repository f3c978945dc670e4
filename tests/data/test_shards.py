"""WebDataset shards: indexed in place, in their order, and trusted with nothing."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchword.cli import main
from patchword.data.open import named, open_data
from patchword.data.pixels import Pixels
from patchword.errors import DataError, ImageError
from tests.data.pictures import smooth

CC12M = Path(__file__).parents[3] / "shared/sets/cc12m_webdataset"


def opened(where, *columns):
    return open_data(where, pixels=Pixels(), seed=0, columns=columns)


def png(seed):
    file = io.BytesIO()
    Image.fromarray(smooth(6, 7, seed)).save(file, "PNG")
    return file.getvalue()


def write(path, members, mode="w"):
    """Write a tar file of members in this order: name to content, or to a `TarInfo`'s type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) == 1:
                info.type, info.linkname = content, "/etc/passwd"
                tar.addfile(info)
            else:
                body = content.encode() if isinstance(content, str) else content
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    return path


def samples(numbers, label=lambda n: str(n % 2) + "\n"):
    return [
        member for n in numbers for member in ((f"{n:05}.png", png(n)), (f"{n:05}.cls", label(n)))
    ]


def names(source):
    return [source.name(index) for index in range(len(source))]


def test_a_pattern_of_shards(tmp_path):
    for shard in range(3):
        write(tmp_path / f"s-{shard:03}.tar", samples(range(4 * shard, 4 * shard + 4)))
    data = opened(str(tmp_path / "s-{000..002}.tar"))
    assert data.name == "s" == named(str(tmp_path / "s-*.tar"))
    assert data.train.classes == ("0", "1") and len(data.train) + len(data.validation) == 12
    again = opened(str(tmp_path / "s-*.tar"))
    assert names(again.train) == names(data.train) == sorted(names(data.train))
    assert again.train.fingerprint() == data.train.fingerprint()
    place = names(data.train)[5]
    number = int(place.rpartition("/")[2])
    copy = pickle.loads(pickle.dumps(data.train))
    assert np.array_equal(copy.read(5).permute(1, 2, 0), smooth(6, 7, number))
    assert copy.header(5).size == (6, 7)
    with pytest.raises(DataError, match=r"there is no .*s-003.tar"):
        opened(str(tmp_path / "s-{000..003}.tar"))
    with pytest.raises(DataError, match=r"there is no .*x-\*.tar"):
        opened(str(tmp_path / "x-*.tar"))


def test_splits_by_name_and_the_order_of_members(tmp_path):
    write(tmp_path / "train-0.tar", samples([7, 3, 5, 2]))
    write(tmp_path / "val-0.tar", samples([1, 0]))
    data = opened(tmp_path)
    assert names(data.train) == [f"train-0.tar/0000{n}" for n in (7, 3, 5, 2)]
    assert data.train.labels.tolist() == [1, 1, 1, 0]
    assert data.validation.labels.tolist() == [1, 0]
    write(tmp_path / "in/train/a.tar", samples([1, 2]))
    write(tmp_path / "in/test/a.tar", samples([2]))
    assert len(opened(tmp_path / "in").test) == 1


def said_in_json(count, say):
    """Return samples with what is said of picture n, `say(n)`, as JSON."""
    for n in range(count):
        yield f"{n}.jpg", png(n)
        yield f"{n}.json", json.dumps(say(n))


def test_labels_in_json(tmp_path):
    path = tmp_path / "train.tar"
    members = [*said_in_json(40, lambda n: {"label": ["cat", "dog"][n % 2], "more": n})]
    members += [("x.png", png(1)), ("x.json", '{"caption": "x"}'), ("y.txt", "alone"), ("__m", "x")]
    data = opened(write(path, members))
    assert data.train.classes == ("cat", "dog")
    notes = " ".join(data.notes)
    assert "has no label; it has png, json" in notes and "(has no picture): train.tar/y" in notes
    data = opened(write(path, said_in_json(6, lambda n: {"tags": ["a", "b"][: n % 3]})))
    assert data.train.kind == "labels" and data.train.classes == ("a", "b")
    data = opened(write(path, said_in_json(6, lambda n: {"age": n})), "value=age")
    assert data.train.kind == "values" and data.train.classes == ("age",)


HOSTILE = {
    "a link": ([*samples([1, 2]), ("3.png", tarfile.SYMTYPE)], "'3.png' is no plain file"),
    "a hard link": ([*samples([1, 2]), ("3.png", tarfile.LNKTYPE)], "is no plain file"),
    "a device": ([*samples([1, 2]), ("3.png", tarfile.CHRTYPE)], "is no plain file"),
    "a way out": ([*samples([1, 2]), ("../3.png", png(1))], "leads out of it"),
    "an absolute path": ([*samples([1, 2]), ("/3.png", png(1))], "leads out of it"),
}


@pytest.mark.parametrize(("members", "said"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_members_are_refused(tmp_path, members, said, capsys):
    path = write(tmp_path / "train.tar", members)
    with pytest.raises(DataError, match=said):
        opened(path)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_damaged_shards_are_refused(tmp_path):
    path = write(tmp_path / "train.tar", samples(range(8)))
    whole = path.read_bytes()
    for body, said in (
        (whole[:3000], "cut short|end of data"),
        (b"no tar" * 1000, "cannot be read as a tar file"),
        (whole[:4096] + b"x" * 512 + whole[4608:], "damaged at byte|cannot be read"),
    ):
        path.write_bytes(body)
        with pytest.raises(DataError, match=said):
            opened(path)
    write(path, samples(range(8)), "w:gz")
    with pytest.raises(DataError, match="unpack gzip"):
        opened(path)


def test_a_shard_that_changes_is_noticed(tmp_path):
    path = write(tmp_path / "train-0.tar", samples(range(8)))
    write(tmp_path / "val-0.tar", samples(range(2)))
    source = opened(tmp_path).train
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match="cut short now"):
        source.read(7)
    path.unlink()
    with pytest.raises(ImageError, match="was it moved"):
        source.read(0)


def test_a_key_that_comes_twice(tmp_path):
    members = [*samples(range(60)), ("00003.png", png(3)), *samples([70])]
    data = opened(write(tmp_path / "a.tar", members))
    assert len(data.train) + len(data.validation) == 61
    assert "(has a key that stood before): a.tar/00003" in " ".join(data.notes)


@pytest.mark.skipif(not CC12M.is_dir(), reason="../shared is not there")
def test_a_real_shard_without_classes_says_what_it_has():
    with pytest.raises(DataError, match=r"no labelled pictures.*it has jpg, json, txt"):
        opened(CC12M / "cc12m-train-0000.tar")


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestWarning")
def test_the_same_samples_as_webdataset(tmp_path):
    web = pytest.importorskip("webdataset")
    more = [("a.b/9.png", png(9)), ("a.b/9.cls", "1")]
    write(tmp_path / "train.tar", [*samples([4, 1, 3]), *more])
    write(tmp_path / "val.tar", samples([0, 1]))
    theirs = web.WebDataset(str(tmp_path / "train.tar"), shardshuffle=False, empty_check=False)
    keys = [sample["__key__"] for sample in theirs]
    ours = opened(tmp_path).train
    assert [name.removeprefix("train.tar/") for name in names(ours)] == keys
