"""Hugging Face's data sets, written by its library, read by ours; none is fetched."""

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from patchword.cli import main
from patchword.data.open import open_data
from patchword.data.pixels import Pixels
from patchword.errors import DataError
from tests.data.pictures import smooth
from tests.data.test_shards import png


def opened(where, *columns):
    return open_data(where, pixels=Pixels(), seed=0, columns=columns)


def saved(folder, rows, features):
    """Write one split as `save_to_disk` does."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(rows)
    path = folder / "data-00000-of-00001.arrow"
    with path.open("wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def encoded(numbers):
    return [{"bytes": png(number), "path": None} for number in numbers]


FEATURES = {"photo": {"_type": "Image"}, "kind": {"names": ["dog", "cat"], "_type": "ClassLabel"}}


def test_a_saved_split_and_a_saved_dictionary(tmp_path):
    rows = {"photo": encoded(range(10)), "kind": [0, 1] * 5}
    data = opened(saved(tmp_path / "one", rows, FEATURES))
    assert data.train.classes == ("dog", "cat") and len(data.train) + len(data.validation) == 10
    for split, labels in (("train", [1, 0, 1]), ("valid", [0, 1, 1]), ("test", [-1, -1, -1])):
        rows = {"photo": encoded(range(3)), "kind": labels}
        saved(tmp_path / "all" / split, rows, FEATURES)
    (tmp_path / "all/dataset_dict.json").write_text('{"splits": ["train", "valid", "test"]}')
    data = opened(tmp_path / "all")
    assert data.train.labels.tolist() == [1, 0, 1] and data.validation.labels.tolist() == [0, 1, 1]
    assert data.test is None and "test: left out, since it has no labels" in data.notes
    assert np.array_equal(data.train.read(2).permute(1, 2, 0), smooth(6, 7, 2))
    assert data.train.name(2) == "train[2]" and data.train.header(1).size == (6, 7)


def test_rows_without_a_label_are_said(tmp_path):
    rows = {"photo": encoded([0]) * 40, "kind": [0, 1] * 19 + [None, 1]}
    data = opened(saved(tmp_path / "one", rows, FEATURES))
    assert len(data.train) + len(data.validation) == 39
    assert "1 row is left out (has no label): train[38]" in data.notes[0]


def test_other_columns_are_named(tmp_path):
    rows = {"photo": encoded(range(8)), "kind": [0, 1] * 4, "age": [n + 0.5 for n in range(8)]}
    folder = saved(
        tmp_path / "one", rows, {**FEATURES, "age": {"dtype": "float32", "_type": "Value"}}
    )
    assert opened(folder).train.kind == "class"
    data = opened(folder, "value=age").train
    assert data.kind == "values" and data.classes == ("age",)
    with pytest.raises(DataError, match="'photo', 'kind', 'age': say with --columns"):
        opened(folder, "label=size")
    rows = {"photo": encoded(range(8)), "tags": [[0, 1][: n % 3] for n in range(8)]}
    tags = {"feature": FEATURES["kind"], "_type": "List"}
    data = opened(saved(tmp_path / "two", rows, {"photo": FEATURES["photo"], "tags": tags})).train
    assert data.kind == "labels" and data.classes == ("dog", "cat")


def test_what_is_refused(tmp_path, monkeypatch, capsys):
    rows = {"photo": encoded(range(2)), "kind": [0, 1]}
    folder = saved(tmp_path / "one", rows, FEATURES)
    (folder / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match="cannot be read"):
        opened(folder)
    (folder / "state.json").write_text("[]")
    with pytest.raises(DataError, match="no JSON object"):
        opened(folder)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert main(["train", "hf:owner/set", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "hf download --repo-type dataset owner/set" in said


def test_copies_in_the_hub_s_cache(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    hub = tmp_path / "hub/datasets--owner--set"
    for revision, label in (("aa", 0), ("bb", 1)):
        (hub / "snapshots" / revision / "plain").mkdir(parents=True)
        table = pa.table({"image": encoded(range(3)), "label": [label, 1, 1]})
        pq.write_table(table, hub / "snapshots" / revision / "plain/train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="2 copies of owner/set"):
        opened("hf:owner/set")
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("bb")
    data = opened("hf:owner/set")
    assert data.name == "set" and data.train.labels.tolist() == [1, 1, 1]


@pytest.mark.peers
def test_what_the_library_writes(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
    )
    images = [Image.fromarray(smooth(6, 7, n)) for n in range(6)]
    whole = datasets.Dataset.from_dict({"img": images, "label": [0, 1] * 3}, features=features)
    both = datasets.DatasetDict({"train": whole.select([5, 0, 2]), "test": whole.select([1])})
    both.save_to_disk(tmp_path / "both")
    data = opened(tmp_path / "both")
    assert data.train.classes == ("dog", "cat")
    assert data.train.labels.tolist() == [1, 0, 0] and data.test.labels.tolist() == [1]
    assert np.array_equal(data.train.read(0).permute(1, 2, 0), smooth(6, 7, 5))
