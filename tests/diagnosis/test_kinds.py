"""The doctor where there are no class folders: what makes no sense is left out, and said."""

import csv
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from patchword import doctor
from patchword.cli import main
from tests.data.test_huggingface import saved
from tests.diagnosis.test_doctor import photos

COUNT = 16
KNOWN = {  # kind -> what is known of picture n, as JSON has it
    "class": lambda n: ["cat", "dog"][n % 2],
    "labels": lambda n: [["cat", "dog"], ["dog"], []][n % 3],
    "shares": lambda n: {"cat": [0.25, 0.5][n % 2], "dog": [0.75, 0.5][n % 2]},
    "values": lambda n: n + 0.5,
}


@pytest.fixture
def pictures(tmp_path):
    """Write pictures, the last of which is the first one again."""
    found = sorted(photos(tmp_path / "photos", each=COUNT // 2, splits=("all",)).rglob("*.png"))
    bytes_ = [path.read_bytes() for path in found]
    return [*bytes_[:-1], bytes_[0]]


def listed(folder, pictures, known):
    for number, picture in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(picture)
    rows = ({"file": f"{n}.png", "label": known(n)} for n in range(len(pictures)))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def table(folder, pictures, known):
    """Write a CSV with a column per class, or one of labels or values."""
    listed(folder, pictures, known)
    (folder / "train.jsonl").unlink()
    raws = [known(n) for n in range(len(pictures))]
    heads = list(raws[0]) if isinstance(raws[0], dict) else ["label"]
    with (folder / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", *heads])
        for number, raw in enumerate(raws):
            cells = raw.values() if isinstance(raw, dict) else [raw]
            joined = ["|".join(cell) if isinstance(cell, list) else cell for cell in cells]
            rows.writerow([f"{number}.png", *joined])
    return folder


def shards(folder, pictures, known):
    with tarfile.open(folder / "train-000.tar", "w") as file:
        for number, picture in enumerate(pictures):
            label = json.dumps({"label": known(number)}).encode()
            for suffix, content in (("png", picture), ("json", label)):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return folder


def columns(pictures, known):
    rows = [{"bytes": picture, "path": None} for picture in pictures]
    return {"image": rows, "label": [known(n) for n in range(len(pictures))]}


def parquet(folder, pictures, known):
    pq.write_table(pa.table(columns(pictures, known)), folder / "train.parquet")
    return folder


def arrow(folder, pictures, known):
    return saved(folder, columns(pictures, known), {"image": {"_type": "Image"}})


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("write", [listed, table, shards, parquet, arrow])
def test_every_kind_in_every_layout(tmp_path, pictures, write, kind):
    folder = tmp_path / "data"
    folder.mkdir()
    result = doctor(
        str(write(folder, pictures, KNOWN[kind])), out=tmp_path / "out", workers=0
    ).found
    assert result.examined.data.train.kind == kind
    assert result.counts["exact"] == 2 and len(result.quarantine) >= 1
    differ = KNOWN[kind](0) != KNOWN[kind](COUNT - 1)
    assert all(("different labels" in f.why) == differ for f in result.findings)
    assert result.labels.startswith("not looked for: ")
    assert bool(result.omitted) == (kind in ("shares", "values"))
    page = (tmp_path / "out/doctor.html").read_text()
    assert all(line in page for line in result.omitted)


def test_labels_are_counted_by_picture(tmp_path, pictures):
    folder = tmp_path / "data"
    folder.mkdir()
    found = doctor(
        str(parquet(folder, pictures, KNOWN["labels"])), out=tmp_path / "out", workers=0
    ).found
    assert found.census["train"].per_class == (6, 11)
    assert found.examined.label(0) == "cat, dog" and found.examined.label(2) == "no label"


def test_the_command_names_columns_and_says_what_is_left_out(tmp_path, pictures, capsys):
    rows = {"photo": columns(pictures, lambda n: n)["image"], "age": np.arange(COUNT) / 2}
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "data/train.parquet")
    words = ["doctor", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main([*words, "--columns", "path=photo", "value=age"]) == 1
    said = capsys.readouterr().out
    assert "left out      classes are not compared" in said
    assert "wrong labels  not looked for: values are no labels" in said


def test_the_quarantine_of_a_table_is_taken_by_a_training(tmp_path, pictures):
    from patchword.data.open import open_data
    from patchword.data.pixels import Pixels
    from patchword.data.quarantine import leave_out

    folder = tmp_path / "data"
    folder.mkdir()
    found = doctor(str(parquet(folder, pictures, KNOWN["values"])), out=tmp_path / "o", workers=0)
    kept, lost = leave_out(open_data(folder, pixels=Pixels(), seed=0), found.quarantine)
    assert lost == {"train": 2} and len(kept.train) == COUNT - 2
    assert Image.open(io.BytesIO(pictures[0])).size == (64, 48)
