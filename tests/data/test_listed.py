"""Lists of pictures: what is recognised, what is refused, and that no row is lost in silence."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.cli import main
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.errors import ConfigError, DataError, ImageError
from tests.data.pictures import smooth


def opened(where, *columns, seed=0):
    return open_data(where, pixels=Pixels(), seed=seed, columns=columns)


def names(source):
    return [source.name(index) for index in range(len(source))]


def known(data):
    """Return label and targets of every picture that is trained or validated on, by its name."""
    found = {}
    for source in filter(None, (data.train, data.validation)):
        for index, name in enumerate(names(source)):
            targets = None if source.targets is None else source.targets[index].tolist()
            found[name] = (int(source.labels[index]), targets)
    return found


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures, 0.png to 11.png, in a folder `p`."""
    (tmp_path / "p").mkdir()
    for number in range(12):
        Image.fromarray(smooth(6, 7, number)).save(tmp_path / f"p/{number}.png")
    return tmp_path


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rows(count, label):
    return [f"p/{number}.png,{label(number)}" for number in range(count)]


@pytest.mark.parametrize(
    "sign", [",", "\t", ";", "|", " "], ids=["comma", "tab", "semi", "pipe", "space"]
)
@pytest.mark.parametrize("header", [True, False])
def test_delimiter_and_header_are_recognised(pictures, sign, header):
    lines = [line.replace(",", sign) for line in rows(10, lambda n: "ab"[n % 2])]
    path = write(pictures / "list.csv", *([f"file{sign}label"] if header else []), *lines)
    data = opened(path)
    assert data.name == "list" and data.train.kind == "class" and data.train.targets is None
    assert (data.train.classes, len(data.train), len(data.validation)) == (("a", "b"), 8, 2)
    assert known(data).keys() == {f"p/{number}.png" for number in range(10)}
    assert (known(data)["p/4.png"], known(data)["p/5.png"]) == ((0, None), (1, None))
    number = int(names(data.train)[3].removeprefix("p/").removesuffix(".png"))
    assert np.array_equal(data.train.read(3).permute(1, 2, 0), smooth(6, 7, number))


def test_rows_keep_their_order_and_quotes_their_commas(pictures):
    write(
        pictures / "train.csv",
        '"label","image_path"',
        '"a, or so","p/7.png"',
        '"b ""x""","p/0.png"',
        "",
        '"a, or so","p/3.png"',
    )
    write(pictures / "val.csv", "label,image_path", 'b "x",p/5.png'.replace('b "x"', '"b ""x"""'))
    data = opened(pictures)
    assert names(data.train) == ["p/7.png", "p/0.png", "p/3.png"]
    assert data.train.classes == ("a, or so", 'b "x"')
    assert data.train.labels.tolist() == [0, 1, 0]
    assert data.validation.labels.tolist() == [1]
    assert "image_path holds the paths, label the labels" in data.notes[0]


def test_splits_by_column(pictures):
    lines = [f"p/{n}.png,{'ab'[n % 2]},{['train', 'Valid', 'test'][n % 3]}" for n in range(12)]
    data = opened(write(pictures / "x.csv", "file,label,split", *lines))
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 4, 4)
    assert names(data.test) == ["p/2.png", "p/5.png", "p/8.png", "p/11.png"]
    lines = [line.replace(",train", ",fit").replace("Valid", "train") for line in lines]
    with pytest.raises(DataError, match=r"4 of 12 rows are wrong.*x.csv:2: split names no split"):
        opened(write(pictures / "x.csv", "file,label,split", *lines))


def test_lists_in_the_split_folders(pictures):
    for split, count in (("train", 4), ("validation", 2)):
        (pictures / split).mkdir()
        write(
            pictures / split / "metadata.csv",
            "file_name,label",
            *[f"{n}.png,{n % 2}" for n in range(count)],
        )
        for number in range(count):
            (pictures / split / f"{number}.png").write_bytes(
                (pictures / f"p/{number}.png").read_bytes()
            )
    data = opened(pictures)
    assert names(data.validation) == ["validation/0.png", "validation/1.png"]
    assert data.validation.read(1).shape == (3, 6, 7)


def test_whole_numbers_are_classes_in_their_order(pictures):
    data = opened(write(pictures / "x.csv", "file,label", *rows(12, lambda n: n)))
    assert data.train.classes[:3] + data.train.classes[-1:] == ("0", "1", "2", "11")
    assert data.train.labels.tolist() == list(range(12))


def test_several_labels(pictures):
    lines = [f"p/{n}.png,{'|'.join('abc'[: n % 4])}" for n in range(8)]
    data = opened(write(pictures / "train.csv", "file,tags", *lines))
    whole = data.train
    assert whole.kind == "labels" and whole.classes == ("a", "b", "c")
    assert known(data)["p/2.png"] == (1, [1, 1, 0])  # b is rarer than a
    assert known(data)["p/4.png"] == (0, [0, 0, 0])
    assert "separated by '|'" in " ".join(data.notes)
    write(pictures / "train.csv", "file,tags", *(line for line in lines if line[-1] != ","))
    one = opened(pictures / "train.csv", "separator=").train
    assert one.kind == "class" and one.classes == ("a", "a|b", "a|b|c")
    write(pictures / "train.csv", "file,a,b", *[f"p/{n}.png,{n % 2},1" for n in range(8)])
    data = opened(pictures)
    assert data.train.kind == "labels" and data.train.classes == ("a", "b")


def test_one_hot_columns_are_classes(pictures):
    write(pictures / "train.csv", "file,x,a", *[f"p/{n}.png,{n % 2},{1 - n % 2}" for n in range(8)])
    data = opened(pictures)
    assert data.train.kind == "class" and data.train.classes == ("a", "x")
    assert known(data)["p/1.png"] == (1, None)


def test_shares(pictures):
    shares = [{"b": n / 8, "a": 1 - n / 8} for n in range(8)] * 5
    lines = [json.dumps({"file": f"p/{n % 8}.png", "label": s}) for n, s in enumerate(shares)]
    data = opened(write(pictures / "train.jsonl", *lines))
    assert data.train.kind == "shares" and data.train.classes == ("a", "b")
    assert known(data)["p/6.png"] == (1, [0.25, 0.75])
    lines[3] = json.dumps({"file": "p/3.png", "label": {"a": 0.5, "b": 0.2}})
    data = opened(write(pictures / "train.jsonl", *lines))
    assert "(its shares sum to 0.7, not to 1): train.jsonl:4" in " ".join(data.notes)


def test_values(pictures):
    write(pictures / "train.csv", "file,age", *rows(8, lambda n: n + 0.5))
    whole = opened(pictures).train
    assert whole.kind == "values" and whole.classes == ("age",)
    assert known(opened(pictures))["p/3.png"] == (0, [3.5])
    lines = [f"p/{n}.png,{n},{10 * n},x" for n in range(8)]
    write(pictures / "train.csv", "file,height,weight,name", *lines)
    two = opened(pictures, "value=weight,height")
    assert two.train.kind == "values" and two.train.classes == ("weight", "height")
    assert known(two)["p/3.png"] == (0, [30, 3])
    assert "not used: height, name" in opened(pictures, "value=weight").notes[0]


def test_wrong_rows_are_named_and_the_others_kept(pictures):
    lines = [*rows(12, lambda n: "ab"[n % 2]) * 10, ",a", "p/0.png,", "p/1.png,a,b", "p/3.png,"]
    data = opened(write(pictures / "train.csv", "file,label", *lines))
    assert len(data.train) + len(data.validation) == 120
    said = " ".join(data.notes)
    assert "2 rows are left out (has no label): train.csv:123; train.csv:125" in said
    assert "1 row is left out (has no path): train.csv:122" in said
    assert "1 row is left out (has 3 cells, not 2): train.csv:124" in said
    write(pictures / "train.csv", "file,label", *lines, *["p/0.png,"] * 4)
    with pytest.raises(DataError, match="8 of 128 rows are wrong, more than 5%"):
        opened(pictures)


def test_pictures_that_are_not_there_are_said_when_they_are_read(pictures):
    data = opened(write(pictures / "train.csv", "file,label", "p/0.png,a", "q/1.png,b"))
    with pytest.raises(ImageError, match=r"q/1.png: cannot be read: No such file"):
        data.train.read(1)


REFUSED = {
    "no columns": (["just words"], "no rows"),
    "nothing": ([], "single column|no rows"),
    "only a header": (["file,label"], "no rows"),
    "two columns of one name": (["file,label,label", "p/0.png,a,b"], "two columns 'label'"),
    "which path": (["a,b,label", "p/0.png,p/1.png,c"], "'a', 'b', 'label': say .* the path"),
    "which label": (["file,kind,breed", "p/0.png,x,y"], "'breed': say .* the label"),
    "a single class": (["file,label", "p/0.png,x"], "a single class, 'x'"),
}


@pytest.mark.parametrize(("lines", "said"), REFUSED.values(), ids=REFUSED)
def test_lists_that_are_refused(pictures, lines, said, capsys):
    path = write(pictures / "x.csv", *lines)
    with pytest.raises(DataError, match=said):
        opened(path)
    out = pictures / "run"
    assert main(["train", str(path), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_a_class_that_training_lacks(pictures):
    write(pictures / "train.csv", "file,label", "p/0.png,a", "p/1.png,b")
    write(pictures / "test.csv", "file,label", "p/0.png,a", "p/1.png,c")
    with pytest.raises(DataError, match=r"test.csv:3 has 'c', which none of the training"):
        opened(pictures)
    write(pictures / "test.csv", "file", "p/0.png")
    with pytest.raises(DataError, match="single column"):
        opened(pictures)
    write(pictures / "test.csv", "file,label", "p/0.png,", "p/1.png,")
    assert "test: left out, since test.csv has no labels" in opened(pictures).notes


def test_columns_are_checked(pictures):
    path = write(pictures / "x.csv", "file,label", *rows(8, lambda n: "ab"[n % 2]))
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        opened(path, "pth=file")
    with pytest.raises(ConfigError, match="not both"):
        opened(path, "label=label", "value=label")
    with pytest.raises(DataError, match="no column 'labl'; did you mean 'label'"):
        opened(path, "label=labl")
    with pytest.raises(DataError, match="not in UTF-8"):
        path.write_bytes("file,label\n1.png,hündin\n".encode("latin-1"))
        opened(path)
    with pytest.raises(DataError, match="leave --columns out"):
        opened(pictures / "p", "label=x")


def test_a_list_beside_pictures_that_does_not_speak_of_them_is_no_list(pictures):
    for label in "ab":
        (pictures / "f" / label).mkdir(parents=True)
        (pictures / f"f/{label}/0.png").write_bytes((pictures / "p/0.png").read_bytes())
    write(pictures / "f/data.csv", "city,people", "Bonn,300000")
    assert opened(pictures / "f").train.classes == ("a", "b")


def test_the_order_of_the_directory_has_no_part(pictures):
    path = write(pictures / "x.csv", "file,label", *rows(12, lambda n: "ab"[n % 2]))
    first = opened(path)
    bodies = {file.name: file.read_bytes() for file in (pictures / "p").iterdir()}
    for file in (pictures / "p").iterdir():
        file.unlink()
    for name in sorted(bodies, reverse=True):
        (pictures / "p" / name).write_bytes(bodies[name])
    again = opened(path)
    assert first.train.fingerprint() == again.train.fingerprint()
    assert torch.equal(first.train.read(3), again.train.read(3))
    path.write_text(path.read_text().replace("p/4.png,a", "p/4.png,b"))
    assert opened(path).train.fingerprint() != first.train.fingerprint()
