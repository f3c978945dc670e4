"""A trained model at work: it sees, scores and names what it was trained on, in any order."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from patchword import evaluate, load, predict, train
from patchword.cli import main
from patchword.conversion import save
from patchword.data import Pixels, open_data
from patchword.data.batches import EvalBatches
from patchword.data.source import ArraySource
from patchword.errors import ConfigError, DataError
from patchword.evaluation.answers import relabelled, scores
from tests.training.runs import photos

NAMES = ("cat", "dog", "hen")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on photos, whose data is beside it."""
    folder = tmp_path_factory.mktemp("photos")
    photos(folder / "photos", each=20)
    words = ["train", str(folder / "photos"), "--out", str(folder / "run"), "--epochs", "12"]
    words += ["--model", "vit_mini_patch4_32", "--precision", "fp32", "--workers", "0"]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture
def data(run):
    return run.parent / "photos"


def test_it_learnt_something(run):
    """Else the tests below would compare guesses."""
    assert evaluate(run)["top-1"].value > 0.8


def test_evaluate_scores_what_the_training_scored(run, data):
    written = json.loads((run / "scores.json").read_text(encoding="utf-8"))["validation"]
    for found in (evaluate(run), evaluate(run, str(data)), evaluate(run, split="validation")):
        count, top1, loss = found.findings[0].count, found["top-1"], found["loss"].value
        assert (count, top1.value, loss) == (written["count"], written["top1"], written["loss"])
        assert list(top1.interval) == written["interval"]
    assert evaluate(run, split="train").findings[0].count == 60
    with pytest.raises(DataError, match="has no test pictures; it has: train, validation"):
        evaluate(run, split="test")


def test_classes_may_come_in_another_order_or_be_missing(run, data, tmp_path):
    """The classes are numbered by the order of their names: without cats, hens would be dogs."""
    whole = evaluate(run).findings[0]
    shutil.copytree(data, tmp_path / "some")
    for split in ("train", "val"):
        shutil.rmtree(tmp_path / "some" / split / "cat")
    some = evaluate(run, str(tmp_path / "some")).findings[0]
    assert some.count == 40
    assert some.confusion[0].tolist() == [0, 0, 0]
    assert some.confusion[1:].tolist() == whole.confusion[1:].tolist()


def test_labels_are_numbered_as_the_model_does(run):
    """Whatever the order in which a data set has the same classes."""
    card = load(run).card
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    source = ArraySource(images, np.array([0, 1, 2]), ["hen", "cat", "dog"], "test")
    assert relabelled(torch.tensor([0, 1, 2, 0]), source, card).tolist() == [2, 0, 1, 2]


def test_a_class_that_the_model_does_not_know_is_named(run, data, tmp_path):
    shutil.copytree(data, tmp_path / "more")
    for split in ("train", "val"):
        shutil.copytree(data / split / "cat", tmp_path / "more" / split / "ape")
    with pytest.raises(DataError, match="does not know the classes ape; it knows cat, dog, hen"):
        evaluate(run, str(tmp_path / "more"))


def test_a_model_without_a_run_must_be_told_the_data(run, data, tmp_path):
    save(load(run), tmp_path / "model")
    with pytest.raises(ConfigError, match="name the data"):
        evaluate(tmp_path / "model")
    assert (
        evaluate(tmp_path / "model", str(data)).findings[0].scores
        == evaluate(run).findings[0].scores
    )
    assert not (tmp_path / "model" / "evaluation.json").exists()


def test_predictions_are_evaluates_scores(run, data):
    """One file at a time, in batches and by name: the same pixels, the same probabilities."""
    model = load(run)
    source = open_data(str(data), pixels=model.card.pixels, seed=0).validation
    found = scores(model, source, model.card.preprocessing)
    expected = found.logits.softmax(dim=1)
    files = [str(data / source.name(index)) for index in range(len(source))]
    answers = predict(run, *files, top=3)
    assert [answer.file for answer in answers] == files
    for answer, row in zip(answers, expected, strict=True):
        order = row.argsort(descending=True)
        assert answer.names == tuple(NAMES[i] for i in order)
        assert answer.probabilities == pytest.approx(row[order].tolist(), abs=1e-5)
        assert sum(answer.probabilities) == pytest.approx(1)
    truth = [Path(file).parent.name for file in files]
    right = sum(answer.names[0] == name for answer, name in zip(answers, truth, strict=True))
    assert right / len(files) == evaluate(run)["top-1"].value
    single = model.predictor()(files[0])
    assert single.probabilities == pytest.approx(answers[0].probabilities, abs=1e-5)


def test_training_evaluation_and_prediction_see_the_same_pixels(run, data):
    """The pixel contract and the frame are the model's, whoever reads."""
    model = load(run)
    card = model.card
    source = open_data(str(data), pixels=card.pixels, seed=0).validation
    batch = EvalBatches(source, frame=card.preprocessing, batch_size=len(source))[0]
    for index in (0, 7, len(source) - 1):
        seen = model.predictor().pixels(data / source.name(index))
        assert torch.equal(seen, batch.images[index])
    assert card.pixels == Pixels(channels=3)


def test_grey_pictures_are_grey_to_all(whole, tmp_path):
    """A model of one channel reads one, from a colour file too."""
    model = load(whole(2))
    source = open_data("digits", pixels=model.card.pixels, seed=0).test
    pixels = source.read(5)
    assert pixels.shape == (1, 8, 8)
    picture = Image.fromarray(pixels[0].numpy())
    for mode in ("L", "RGB"):
        picture.convert(mode).save(tmp_path / f"{mode}.png")
        assert torch.equal(model.predictor().pixels(tmp_path / f"{mode}.png"), pixels)


@pytest.fixture
def mixed(data, tmp_path, monkeypatch):
    """A folder of pictures, one of which is none, to stand in."""
    monkeypatch.chdir(tmp_path)
    Path("inside").mkdir()
    for number in range(3):
        shutil.copy(data / "val" / "hen" / f"{number}.png", Path("inside") / f"{number}.png")
    Path("inside/1.png").write_bytes(b"no picture")
    Path("inside/notes.txt").write_text("no picture either")
    shutil.copy(data / "val" / "cat" / "0.png", "cat 1.png")
    return tmp_path


def test_files_folders_and_globs_are_answered_in_order_each_once(run, mixed):
    answers = predict(run, "inside", "*.png", "cat 1.png", "inside/2.*")
    files = [answer.file for answer in answers]
    assert files == ["inside/0.png", "inside/1.png", "inside/2.png", "cat 1.png"]
    assert [answer.error is None for answer in answers] == [True, False, True, True]
    assert "1.png" in answers[1].error and answers[1].names == ()


@pytest.mark.parametrize("words", ["none.png", "*.gif", "**/none", "empty"])
def test_where_there_is_no_picture_that_is_said(run, mixed, words):
    Path("empty").mkdir()
    with pytest.raises(DataError, match="no picture is there"):
        predict(run, "cat 1.png", words)


def test_json_lines_hold_what_was_answered(run, mixed, capsys):
    assert main(["predict", str(run), "inside", "cat 1.png", "--json", "--top", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = predict(run, "inside", "cat 1.png", top=2)
    for row, answer in zip(rows, expected, strict=True):
        assert row["file"] == answer.file
        if answer.error:
            assert row == {"file": answer.file, "error": answer.error}
        else:
            pairs = [(a["name"], a["probability"]) for a in row["answers"]]
            assert pairs == list(zip(answer.names, answer.probabilities, strict=True))
            assert len(pairs) == 2


def test_an_unreadable_picture_is_a_row_and_only_all_of_them_a_failure(run, mixed, capsys):
    assert main(["predict", str(run), "inside/1.png", "inside/2.png"]) == 0
    said = capsys.readouterr()
    assert "cannot be read" in said.out and "hen" in said.out and not said.err
    assert main(["predict", str(run), "inside/1.png"]) == 2
    assert "cannot be read" in capsys.readouterr().out


def test_more_pictures_than_a_batch_are_answered(run, data, tmp_path):
    for number in range(70):
        shutil.copy(data / "val" / "dog" / f"{number % 20}.png", tmp_path / f"{number:02}.png")
    answers = predict(run, str(tmp_path), top=1)
    assert [Path(answer.file).name for answer in answers] == [f"{n:02}.png" for n in range(70)]
    assert all(
        a.names == b.names and a.probabilities == pytest.approx(b.probabilities, abs=1e-5)
        for a, b in zip(answers[:50], answers[20:], strict=True)
    )


def test_what_the_contract_does_is_said_where_it_is_used(run, data, tmp_path, capsys):
    """A run that was trained under a contract is used under it, by whatever way it is loaded."""
    words = ["train", str(data), "--out", str(tmp_path / "run"), "--epochs", "1"]
    words += ["--model", "vit_mini_patch4_32", "--precision", "fp32", "--workers", "0"]
    assert main([*words, "--settings", "pixels.background=[0,0,0]"]) == 0
    save(load(tmp_path / "run"), tmp_path / "model")
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (40, 40), (200, 100, 50, 0)).save(clear)
    for trained, level, name in (("run", 0, "black"), ("model", 0, "black"), (run, 255, "white")):
        where = tmp_path / trained
        assert (
            json.loads((where / "config.json").read_text())["pixels"]["background"] == [level] * 3
        )
        assert (load(where).predictor().pixels(clear) == level).all()
        (answer,) = predict(where, str(clear))
        assert answer.notes == (f"transparency laid over {name}",)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(clear)]) == 0
    assert "pixels: 1 of 1 pictures: transparency laid over black" in capsys.readouterr().out
    for split in ("train", "val"):
        for label in NAMES:
            (tmp_path / "more" / split / label).mkdir(parents=True)
            shutil.copy(clear, tmp_path / "more" / split / label / "clear.png")
    found = evaluate(tmp_path / "run", str(tmp_path / "more")).findings[0]
    assert found.notes == ("3 of 3 validation pictures: transparency laid over black",)


def test_a_quarantine_is_left_out_of_training_and_scores(tmp_path):
    folder = photos(tmp_path / "photos", classes=("cat", "dog"), each=10)
    (tmp_path / "q.csv").write_text("train/cat/0.png\nval/dog/1.png\n")
    settings = {"image_size": 16, "batch_size": 6, "epochs": 1.0, "precision": "fp32", "workers": 0}
    quarantine = tmp_path / "q.csv"
    run = train(str(folder), out=tmp_path / "run", quarantine=quarantine, **settings)
    assert run.scores["validation"]["count"] == evaluate(run).findings[0].count == 19
    report = run.report.read_text(encoding="utf-8")
    assert "1 of train, 1 of validation left out" in report
    quarantine.write_text("train/cat/no.png\n")
    with pytest.raises(DataError, match=r"no picture 'train/cat/no.png'"):
        train(str(folder), out=tmp_path / "other", quarantine=quarantine, **settings)
