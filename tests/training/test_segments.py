"""Segments of things and stuff from a folder to a run, its scores, its page and its answers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from patchword import evaluate, load, predict
from patchword.cli import main
from patchword.data import Pixels, decode, open_data
from patchword.data.scene import Segment
from patchword.evaluation.looker import Parter
from patchword.evaluation.panoptic import Tally
from patchword.heads.panoptic import Panoptic
from patchword.training import job
from tests.training import cells
from tests.training.cells import PARTER
from tests.training.runs import differences, photos

EPOCHS = ("--epochs", "40")
RATE = ("optim.lr=0.005", "bottom_up.sigma=1.0", "bottom_up.offset=0.1", "joint.crop=1.0")
CLASSES = ("red", "green", "blue", "ground")

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    """A run on segments, whose data is beside it."""
    folder = tmp_path_factory.mktemp("segments")
    data = cells.panoptic(folder / "data")
    words = ["train", str(data), "--out", str(folder / "run"), *EPOCHS, *PARTER, *RATE]
    assert main(words) == 0
    return folder / "run"


def scores(run):
    return json.loads((run / "scores.json").read_text(encoding="utf-8"))["validation"]


def held_out(run):
    return open_data(run.parent / "data", pixels=Pixels(), seed=0).validation


def test_segments_are_learnt(run):
    found = scores(run)
    assert found["count"] == 4 and found["pq"] > 0.3 and found["rq"] > 0.4
    assert found["class_pq"].keys() == {*CLASSES}
    there = {name: value for name, value in found["class_pq"].items() if value is not None}
    assert found["pq"] == pytest.approx(np.mean([*there.values()]))
    stuff = [there[name] for name in ("blue", "ground") if name in there]
    assert found["pq_stuff"] == pytest.approx(np.mean(stuff))
    model = load(run)
    assert isinstance(model, Panoptic) and model.head.things == (0, 1)
    assert (model.card.kind, model.card.ids) == ("panoptic", (*cells.IDS, 120))


def test_quality_is_that_of_the_model_s_segments(run):
    """Worked out apart, from what is in the pictures and what the model says."""
    model, source = load(run), held_out(run)
    parter, total = Parter(model, model.card), Tally(4)
    for index in range(len(source)):
        parts, truth = parter.parts(source.read(index)), source.scene(index).panoptic
        assert parts.ids.shape == truth.ids.shape
        found = [Segment(k + 1, label) for k, label in enumerate(parts.labels.tolist())]
        total.add(parts.ids.numpy(), found, truth.ids.numpy(), truth.segments)
    assert total.score().pq == scores(run)["pq"]
    assert total.score((0, 1)).rq == scores(run)["rq_things"]


def test_the_page_shows_classes_and_pictures(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in ("PQ", "Segments", "What was taken for what", "what is in none is dark"):
        assert words in page
    assert page.count('class="scene"') == 4 and "own PQ" in page


def test_evaluate_scores_what_the_training_scored(run):
    data = str(run.parent / "data")
    for found in (evaluate(run), evaluate(run, data), evaluate(run, f"panoptic:{data}")):
        assert found["PQ"].value == scores(run)["pq"]
    finding = found.findings[0]
    known = (torch.stack([held_out(run).scene(0).panoptic.ids]) != 0).sum()
    assert finding.confusion[:-1].sum() > known and not finding.confusion[-1].any()


def test_predict_writes_coco_s_maps_and_overlays(run, tmp_path, capsys):
    pictures, out = run.parent / "data/images/val", tmp_path / "out"
    assert main(["predict", str(run), str(pictures), "--out", str(out), "--top", "1"]) == 0
    capsys.readouterr()
    said = json.loads((out / "panoptic.json").read_text())
    assert [(one["id"], one["isthing"]) for one in said["categories"]] == [
        *((3, 1), (7, 1), (90, 0), (120, 0))
    ]
    model, source = load(run), held_out(run)
    parter = Parter(model, model.card)
    for index, row in enumerate(said["annotations"]):
        with Image.open(out / "panoptic" / row["file_name"]) as image:
            planes = np.array(image).astype(int)
        ids = planes @ [1, 256, 65536]
        assert np.array_equal(ids, parter.parts(source.read(index)).ids.numpy())
        areas = {one["id"]: one["area"] for one in row["segments_info"]}
        assert areas == {int(k): int((ids == k).sum()) for k in np.unique(ids) if k}
        assert {one["category_id"] for one in row["segments_info"]} <= {3, 7, 90, 120}
        overlay = out / f"overlays/{row['file_name']}"
        assert decode(overlay.with_suffix(".jpg"), Pixels()).shape[1:] == ids.shape
    (answer,) = predict(run, str(pictures / "0.png"), out=tmp_path / "again")
    assert 0 < sum(answer.shares) <= 1 and len(answer.written) == 3
    assert main(["predict", str(run), str(pictures), "--threshold", "0.5"]) == 2
    assert "which this model does not answer" in capsys.readouterr().err


def test_what_is_written_is_read_back(run, tmp_path):
    """As a data set, with the model's segments in the place of the truth."""
    pictures = run.parent / "data/images/val"
    predict(run, str(pictures), out=tmp_path / "out")
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for path in pictures.iterdir():
        (root / "images" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "out/panoptic").rename(root / "annotations/panoptic_train")
    said = json.loads((tmp_path / "out/panoptic.json").read_text())
    for one in said["images"]:
        one["file_name"] = one["file_name"].rpartition("/")[2]
    (root / "annotations/panoptic_train.json").write_text(json.dumps(said))
    assert evaluate(run, str(root), split="all", out=tmp_path / "kept")["PQ"].value == 1


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    data = cells.panoptic(tmp_path / "data", splits=(("train", 8), ("val", 2)))
    words = ["train", str(data), "--epochs", "4", *PARTER, *RATE]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    out, fit = tmp_path / "run", job.fit

    def stopping(state, feed, plan, run, **more):
        return fit(state, feed, plan, run, **more | {"stop": lambda: state.step == 5})

    monkeypatch.setattr(job, "fit", stopping)
    assert main([*words, "--out", str(out)]) == 130
    monkeypatch.setattr(job, "fit", fit)
    assert main([*words, "--out", str(out)]) == 0
    assert differences(tmp_path / "whole", out) == []


def test_a_classifier_trained_here_is_where_it_starts(run, tmp_path):
    pictures, first = photos(tmp_path / "photos", each=4), tmp_path / "first"
    quick = ("--epochs", "1", "--precision", "fp32", "--workers", "0", "--image-size", "16")
    classes = ("--model", "vit_micro_patch2_8")
    assert main(["train", str(pictures), "--out", str(first), *classes, *quick]) == 0
    out = tmp_path / "second"
    words = ["train", str(run.parent / "data"), "--out", str(out), "--init", str(first), *quick]
    assert main([*words, "--settings", "optim.lr=1e-30"]) == 0
    model, before = load(out), load(first)
    assert (model.card.model, model.head.things) == ("axial_deeplab_small", (0, 1))
    kept = model.backbone.blocks[0].attn.qkv.weight
    assert torch.equal(kept, before.backbone.blocks[0].attn.qkv.weight)


def test_things_are_those_of_the_new_data(run, tmp_path):
    data = cells.panoptic(tmp_path / "data", things=(90,))
    out = tmp_path / "again"
    words = ["train", str(data), "--out", str(out), "--init", str(run), "--epochs", "1"]
    assert main([*words, *cells.QUICK]) == 0
    assert load(out).head.things == (2,)


WRONG = {
    ("--model", "deformable_detr_small_mit_b0"): "answers with objects, the data has panoptic",
    ("--task", "detect"): "has no objects beside its pictures; it has: panoptic",
    ("--settings", "bottom_up.sigma=0"): "sigma 0",
    ("--recipe", "vit"): "leave --recipe out, or name one such as tiny_panoptic",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(run, tmp_path, capsys, words):
    out = tmp_path / "run"
    assert main(["train", str(run.parent / "data"), "--out", str(out), *words]) == 2
    said = capsys.readouterr().err
    assert WRONG[words] in said and said.count("\n") == 1 and not out.exists()
