"""ReaL labels and variants: what counts as right is said by a file, or by the folders' names."""

import json

import numpy as np
import pytest
import torch

from patchword.data.source import Joined
from patchword.errors import ConfigError, DataError
from patchword.evaluation.protocol import Judged
from patchword.evaluation.real import RealLabels
from patchword.evaluation.variant import Variant
from tests.evaluation.subjects import judged, pictures, subject


def written(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_any_of_the_labels_is_right_and_none_is_not_scored(tmp_path):
    model, data = subject(), judged(test=12)
    answers = model.answers(data.test).logits.argmax(1).tolist()
    sets = {f"x[{i}]": [(a + 1) % 3, (a + 2) % 3] for i, a in enumerate(answers)}
    sets |= {f"x[{i}]": [answers[i], (answers[i] + 1) % 3] for i in range(5)}
    sets["x[11]"] = []
    found = RealLabels(labels=written(tmp_path / "real.json", sets))(model, data)
    assert found["top-1"].value == pytest.approx(5 / 11) and found["top-5"].value == 1.0
    assert found.count == 11 and "1 pictures have no label" in found.notes[0]
    del sets["x[3]"]
    with pytest.raises(DataError, match=r"has no labels of x\[3\]"):
        RealLabels(labels=written(tmp_path / "real.json", sets))(model, data)


def test_a_list_is_in_the_order_of_imagenets_files(tmp_path):
    read = RealLabels(labels=written(tmp_path / "real.json", [[1, 2], [], [3]]))._read()
    assert read["ILSVRC2012_val_00000001.JPEG"] == [1, 2]
    assert read["ILSVRC2012_val_00000003.JPEG"] == [3]


@pytest.mark.parametrize("content", ["5", "{", None])
def test_a_file_that_is_none_is_an_error_of_one_line(tmp_path, content):
    file = tmp_path / "real.json"
    if content is not None:
        file.write_text(content)
    for protocol in (RealLabels(labels=str(file)), Variant(classes=str(file))):
        with pytest.raises(ConfigError, match=r"real\.json"):
            protocol(subject(), judged())
    with pytest.raises(ConfigError, match="--settings labels"):
        RealLabels()(subject(), judged())


def variant(names):
    return Judged("other", train=pictures(6), test=pictures(30, names=names), split="all")


def test_a_folder_may_have_a_class_s_name_or_number():
    model = subject()
    by_name, by_number = Variant()(model, variant(("hen", "cat"))), variant(("2", "0"))
    assert by_name.scores == Variant()(model, by_number).scores
    with pytest.raises(DataError, match="no class 'ape', of the folder 'ape'"):
        Variant()(model, variant(("hen", "ape")))


def test_the_answer_is_sought_among_the_classes_that_are_there():
    model, data = subject(), variant(("hen", "cat"))
    logits = model.logits(data.test).logits
    truth = np.array([2, 0])[data.test.labels]
    among = torch.where(torch.tensor([True, False, True]), logits, -torch.inf).argmax(1).numpy()
    assert Variant()(model, data)["top-1"].value == np.mean(among == truth)
    every = logits.argmax(1).numpy()
    assert Variant(among=False)(model, data)["top-1"].value == np.mean(every == truth)


def test_a_folder_may_stand_for_several_classes_or_for_none(tmp_path):
    model, data = subject(), variant(("pet", "thing"))
    table = written(tmp_path / "map.json", {"pet": ["cat", 1]})
    found = Variant(classes=table, among=False)(model, data)
    said = model.logits(data.test).logits.argmax(1).numpy()[data.test.labels == 0]
    assert found["top-1"].value == np.mean(said != 2) and found.count == 15
    assert "1 classes are not in the map" in found.notes[0]


def test_sources_are_joined_in_order():
    parts = [pictures(4), pictures(5, seed=1), pictures(3, seed=2)]
    whole = Joined(parts)
    assert len(whole) == 12
    for start, part in ((0, parts[0]), (4, parts[1]), (9, parts[2])):
        for i in range(len(part)):
            assert torch.equal(whole.read(start + i), part.read(i))
            assert whole.labels[start + i] == part.labels[i]
            assert whole.header(start + i) == part.header(i)
    assert whole.fingerprint() != Joined(parts[::-1]).fingerprint()
