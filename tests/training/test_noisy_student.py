"""A teacher labels a folder once; its student learns those pictures under its labels."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from patchword import load, train
from patchword.cli import main
from patchword.conversion import save
from patchword.data.pseudo import PseudoLabels
from patchword.errors import DataError, RunError
from patchword.factory import create_model
from patchword.training.choose import choose
from patchword.training.settings import Request, stored
from patchword.training.teacher import Teacher
from tests.training.runs import photos

MODEL = "vit_mini_patch4_32"
COMMON = {"model": MODEL, "precision": "fp32", "workers": 0, "device": "cpu"}
STEPS = ("steps=2", "batch_size=8")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Labelled pictures, others in folders of any names, and a teacher sure of some of them."""
    folder = tmp_path_factory.mktemp("noisy")
    photos(folder / "photos", each=6)
    photos(folder / "others", splits=("heap", "pile"), classes=("x", "y", "z"), each=13)
    (folder / "others" / "heap" / "broken.png").write_bytes(b"no picture")
    (folder / "others" / "notes.txt").write_text("not a picture")
    torch.manual_seed(1)
    model = create_model(MODEL, num_classes=3)
    nn.init.normal_(model.head["label"].weight, std=0.2)
    save(model, folder / "teacher")
    return folder


def request(places, **settings):
    paths = {"data": "photos", "teacher": "teacher", "unlabelled": "others", "cache": "cache"}
    named = {name: str(places / path) for name, path in paths.items()}
    return Request(**(named | COMMON | settings))


def rows(path):
    with (path / "pseudo_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_its_labels_are_the_teacher_s_own_answers(places):
    found = choose(request(places, recipe="noisy_student", image_size=(32, 32)))
    source, labelled = found.data.train, found.labelled
    assert len(labelled.source) == 79 and found.card.kind == "class"
    assert source.kind == "shares" and len(source) == 18 + len(labelled.chosen)
    predictor = load(places / "teacher").predictor()
    for place in (0, 7, len(labelled.chosen) - 1):
        name = source.name(18 + place)
        pixels = predictor.pixels(str(places / "others" / name))
        wanted = predictor.probabilities(pixels[None])[0]
        torch.testing.assert_close(
            torch.from_numpy(source.targets[18 + place]), wanted, rtol=1e-4, atol=1e-5
        )
        assert source.labels[18 + place] == wanted.argmax()
    counts = np.bincount(source.labels[18:])
    counts = counts[counts > 0]
    assert counts.min() == counts.max()  # of each class that it names
    assert source.targets[:18].tolist() == np.eye(3)[source.labels[:18]].tolist()
    assert any("labels" in reason and "balanced" in reason for reason in found.reasons)


def test_it_is_asked_once_and_what_it_said_stands_in_the_run(places, tmp_path, monkeypatch):
    common = {**COMMON, "cache": places / "cache", "teacher": places / "teacher"}
    words = {"unlabelled": places / "others", "image_size": 32, **common}
    data = str(places / "photos")
    settings = [*STEPS, "pseudo_labels.threshold=0.4"]
    run = train(data, out=tmp_path / "one", recipe="noisy_student", settings=settings, **words)
    assert load(run.path).card.kind == "class" and run.scores["validation"]["count"] == 18
    held = stored(run.path).recipe.pseudo_labels
    assert held == PseudoLabels(kind="soft", threshold=0.4, per_class="mean")
    table = rows(run.path)
    assert len(table) == 79
    broken = next(row for row in table if row["file"] == "heap/broken.png")
    assert (broken["label"], broken["confidence"], broken["copies"]) == ("", "", "0")
    named = [row for row in table if int(row["copies"])]
    assert named and all(float(row["confidence"]) >= 0.4 for row in named)
    assert {row["label"] for row in named} <= {"cat", "dog", "hen"} | {"0", "1", "2"}

    def forbidden(*rest):
        pytest.fail("the teacher was asked again")

    monkeypatch.setattr(Teacher, "answer", forbidden)
    again = train(data, out=tmp_path / "two", recipe="noisy_student", settings=settings, **words)
    assert rows(again.path) == table
    same = [path.read_bytes() for path in (run.path / "model.safetensors",)]
    assert (again.path / "model.safetensors").read_bytes() == same[0]
    hard = train(
        data, out=tmp_path / "hard", settings=[*settings, "pseudo_labels.kind=hard"], **words
    )
    log = [json.loads(line) for line in (hard.path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 2 and rows(hard.path) == table


def test_hard_labels_are_classes(places):
    settings = ("pseudo_labels.kind=hard", "pseudo_labels.per_class=4", "class_loss=binary")
    found = choose(request(places, recipe="vit", image_size=(32, 32), settings=settings))
    assert found.data.train.kind == "class" and found.data.train.targets is None
    own = found.data.train.labels[18:]
    assert set(np.bincount(own)[np.unique(own)]) == {4}


def test_a_folder_that_is_interrupted_is_asked_for_the_rest_alone(places, tmp_path, monkeypatch):
    asked, answer = [], Teacher.answer

    def interrupted(self, pixels, precision):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(len(pixels))
        return answer(self, pixels, precision)

    monkeypatch.setattr(Teacher, "answer", interrupted)
    mine = request(places, image_size=(32, 32), cache=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        choose(mine)
    monkeypatch.setattr(Teacher, "answer", lambda *a: asked.append(len(a[1])) or answer(*a))
    found = choose(mine)
    assert asked == [64, 15]
    whole = choose(request(places, image_size=(32, 32)))
    assert found.data.train.fingerprint() == whole.data.train.fingerprint()


def test_a_teacher_that_is_sure_of_nothing(places):
    settings = ("pseudo_labels.threshold=0.999999",)
    with pytest.raises(DataError, match=r"100% sure of no picture.*pseudo_labels\.threshold"):
        choose(request(places, image_size=(32, 32), settings=settings))


WRONG = {
    ("--recipe", "noisy_student", "--teacher", "T"): "name their folder with --unlabelled",
    ("--unlabelled", "U"): "--unlabelled needs a teacher to label them",
    ("--unlabelled", "U", "--teacher", "T", "--distill", "hard"): "leave one out",
    ("--unlabelled", "U", "--teacher", "T", "--token"): "leave one out",
    ("--unlabelled", "U", "--teacher", "T", "--recipe", "deit_distilled"): "leave one out",
    ("--unlabelled", "none", "--teacher", "T"): "there is no folder none of pictures",
    ("--unlabelled", "T", "--teacher", "T"): "holds no pictures",
    ("--unlabelled", "U", "--teacher", "T", "--settings", "class_loss=binary"): "kind=hard",
}


@pytest.mark.parametrize(("words", "line"), WRONG.items(), ids=map(" ".join, WRONG))
def test_a_mistake_is_one_line(places, tmp_path, capsys, words, line):
    named = {"T": str(places / "teacher"), "U": str(places / "others")}
    common = ["train", str(places / "photos"), "--out", str(tmp_path / "run"), "--model", MODEL]
    common += ["--cache", str(tmp_path / "cache"), "--precision", "fp32", "--workers", "0"]
    assert main([*common, *(named.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_only_with_the_same_pictures(places, tmp_path):
    shutil.copytree(places / "others", tmp_path / "others")
    words = {**COMMON, "cache": places / "cache", "teacher": places / "teacher"}
    words |= {"unlabelled": tmp_path / "others", "image_size": 32, "settings": STEPS}
    run = train(str(places / "photos"), out=tmp_path / "run", **words)
    (run.path / "report.html").unlink()
    assert train(str(places / "photos"), out=tmp_path / "run", **words).path == run.path
    (run.path / "report.html").unlink()
    (tmp_path / "others" / "heap" / "x" / "0.png").unlink()
    with pytest.raises(RunError, match="training pictures"):
        train(str(places / "photos"), out=tmp_path / "run", **words)
