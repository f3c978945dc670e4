"""Labels, shares and values: learnt, scored, answered; classes that are weighed and balanced."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import patchword
from patchword.api import evaluate, predict, train
from patchword.cli import main
from patchword.data.draw import balanced
from patchword.data.source import ArraySource
from patchword.errors import ConfigError, DataError
from patchword.factory import create_model
from patchword.heads.classify import Classifier
from patchword.recipes import recipe
from patchword.tasks.classify import Classify, Labelled
from patchword.tasks.multilabel import MultiLabel, smooth_each
from patchword.tasks.regress import Regress
from patchword.training.targets import Targets, weights_of

COUNT = 120
FAST = {
    "precision": "fp32",
    "workers": 0,
    "epochs": 12.0,
    "model": "vit_micro_patch2_8",
    "lr": 0.01,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of 8 x 8 whose red and green halves tell what is known of them."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    red, green = draw.integers(0, 256, (2, COUNT))
    for number in range(COUNT):
        pixels = draw.integers(0, 20, (8, 8, 3), dtype=np.uint8)
        pixels[:4, :, 0], pixels[4:, :, 1] = red[number], green[number]
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder, red, green


def listed(folder, name, say):
    rows = [json.dumps({"file": f"{n}.png", "label": say(n)}) for n in range(COUNT)]
    (folder / name).write_text("\n".join(rows))
    return str(folder / name)


def test_labels(pictures, tmp_path, capsys):
    folder, red, green = pictures
    words = [
        [word for word, there in (("red", red[n] > 128), ("green", green[n] > 128)) if there]
        for n in range(COUNT)
    ]
    run = train(listed(folder, "tags.jsonl", lambda n: words[n]), out=tmp_path / "run", **FAST)
    said = capsys.readouterr().out
    assert "2 labels, any number of them per picture (green, red)" in said and "mAP" in said
    scores = run.scores["validation"]
    assert scores["map"] > 0.9 and list(scores["ap"]) == ["green", "red"]
    assert scores["interval"][0] <= scores["map"] <= scores["interval"][1]
    found = evaluate(run)
    assert found.protocol == "multilabel"
    assert found["mAP"].value == pytest.approx(scores["map"])
    assert found["loss"].value == pytest.approx(scores["loss"])
    with pytest.raises(DataError, match="has labels of each picture; calibration wants a class"):
        evaluate(run, protocol="calibration")
    (answer,) = predict(run, str(folder / "0.png"))
    assert set(answer.names) == {"red", "green"} and sum(answer.probabilities) != pytest.approx(1)
    card = json.loads((run.path / "config.json").read_text())
    assert card["kind"] == "labels" and card["scale"] is None
    assert "Validation score" in run.report.read_text()


def test_values(pictures, tmp_path, capsys):
    folder, red, _ = pictures
    data = listed(folder, "red.jsonl", lambda n: 1000 + red[n] / 2)
    run = train(data, out=tmp_path / "run", settings=["value_loss=smooth_l1"], **FAST)
    said = capsys.readouterr().out
    assert "1 values to predict" in said or "1 value to predict" in said
    scores = run.scores["validation"]
    assert scores["r2"] > 0.7 and scores["mae"] < 20
    scale = json.loads((run.path / "config.json").read_text())["scale"]
    assert 1040 < scale["mean"][0] < 1090
    (answer,) = predict(run, str(folder / "3.png"))
    assert answer.names == ("label",) and answer.probabilities == ()
    assert abs(answer.values[0] - 1000 - red[3] / 2) < 60
    assert main(["predict", str(run), str(folder / "3.png"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["values"]["label"] == pytest.approx(answer.values[0])
    assert main(["evaluate", str(run)]) == 0
    assert "RMSE" in capsys.readouterr().out
    told = patchword.load(run.path).predictor()(folder / "3.png")
    assert told.values[0] == pytest.approx(answer.values[0]) and str(told).startswith("label 1")


def test_shares(pictures, tmp_path, capsys):
    folder, red, _ = pictures
    data = listed(folder, "soft.jsonl", lambda n: {"a": red[n] / 255, "b": 1 - red[n] / 255})
    settings = {**FAST, "epochs": 4.0}
    run = train(data, out=tmp_path / "run", **settings)
    assert "shares of 2 classes" in capsys.readouterr().out
    scores = run.scores["validation"]
    assert scores["top1"] > 0.7
    share = torch.from_numpy(red / 255)
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).mean().item()
    assert scores["loss"] > 0.8 * entropy  # it cannot be lower than the targets' own


@pytest.mark.parametrize("setting", ["class_weights=balanced", "sampling=balanced"])
def test_values_have_no_classes_to_weigh(pictures, tmp_path, setting):
    folder, red, _ = pictures
    data = listed(folder, "red.jsonl", lambda n: red[n] / 2)
    with pytest.raises(ConfigError, match="values have no classes"):
        train(data, out=tmp_path / "run", settings=[setting], **FAST)
    assert not (tmp_path / "run").exists()


def test_a_teacher_teaches_classes(pictures, tmp_path):
    folder, red, _ = pictures
    data = listed(folder, "red.jsonl", lambda n: red[n] / 2)
    with pytest.raises(ConfigError, match="a teacher teaches classes, the data has values"):
        train(data, out=tmp_path / "run", teacher="timm:deit_tiny_patch16_224", **FAST)


class Given(Classifier):
    """A model whose scores are given."""

    def __init__(self, scores):
        super().__init__(create_model("vit_micro_patch2_8").backbone, {})
        self.scores = torch.nn.Parameter(scores)

    def heads(self, images):
        return {"head": self.scores}


def cost(task, targets, weights):
    batch = Labelled(torch.zeros(len(targets), 3, 2, 2), targets, weights)
    return task(batch, task.count(batch)).total


def test_losses_against_values_worked_out_by_hand():
    scores = torch.tensor([[0.0, 2.0], [1.0, -1.0], [9.0, 9.0]])
    weights = torch.tensor([1.0, 1.0, 0.0])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    p = scores.sigmoid()
    wanted = -(p[0, 0].log() + (1 - p[0, 1]).log() + (1 - p[1, 0]).log() + p[1, 1].log()) / 4
    assert torch.allclose(cost(MultiLabel(Given(scores)), targets, weights), wanted)
    assert torch.allclose(smooth_each(targets[:1], 0.2), torch.tensor([[0.9, 0.1]]))
    wanted = torch.tensor(((1 + 4) / 2 + (1 + 4) / 2) / 2)
    assert torch.allclose(cost(Regress(Given(scores), "mse"), targets, weights), wanted)
    wanted = torch.tensor(((0.5 + 1.5) / 2 + (0.5 + 1.5) / 2) / 2)
    assert torch.allclose(cost(Regress(Given(scores), "smooth_l1"), targets, weights), wanted)


def test_class_weights_are_cross_entropy_s_own():
    labels = np.array([0, 0, 0, 1])
    source = ArraySource(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), labels, ("a", "b"), "train")
    assert weights_of(source).tolist() == pytest.approx([4 / 6, 2.0])
    targets = Targets(source, replace(recipe("tiny"), class_weights="balanced"))
    scores, truth = torch.randn(4, 2), torch.from_numpy(labels)
    rows = targets.weighed(targets(truth, truth))
    found = cost(Classify(Given(scores)), rows, torch.ones(4))
    wanted = F.cross_entropy(scores, truth, weight=weights_of(source), reduction="sum") / 4
    assert torch.allclose(found, wanted)


def test_balanced_sampling_is_a_pure_function_that_shows_all_classes_equally_often():
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    order, turns = balanced(3, 1, labels)
    assert sorted(np.bincount(labels[order]).tolist()) == [33, 33, 34]
    again = balanced(3, 1, labels)
    assert np.array_equal(order, again[0]) and np.array_equal(turns, again[1])
    assert len(set(zip(order.tolist(), turns.tolist(), strict=True))) == 100  # no view twice
    rare = np.bincount(order[labels[order] == 2] - 95)
    assert rare.min() >= 6 and rare.max() <= 7
    seen = {int(i) for epoch in range(8) for i in balanced(3, epoch, labels)[0]}
    assert len(seen) == 100  # the frequent class's pictures take turns
    assert not np.array_equal(order, balanced(3, 2, labels)[0])
    assert not np.array_equal(order, balanced(4, 1, labels)[0])
