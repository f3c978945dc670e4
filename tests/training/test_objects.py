"""Objects from a folder to a run, its scores, its page and its answers."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from patchword import evaluate, load, predict
from patchword.cli import main
from patchword.data import Pixels, open_data
from patchword.engine.run import Run
from patchword.evaluation.ap import detections, objects
from patchword.evaluation.detection import Detection
from patchword.evaluation.looker import Spotter
from patchword.heads.detector import Detector
from patchword.training import job
from tests.training import cells
from tests.training.cells import IDS, NAMES, SPOTTER
from tests.training.runs import differences, photos

EPOCHS = ("--epochs", "40")
RATE = ("optim.lr=0.003", "optim.clip=0.5")

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    """A run on objects, whose data is beside it."""
    folder = tmp_path_factory.mktemp("objects")
    data = cells.coco(folder / "data")
    words = ["train", str(data), "--out", str(folder / "run"), *EPOCHS, *SPOTTER, *RATE]
    assert main(words) == 0
    return folder / "run"


def scores(run):
    return json.loads((run / "scores.json").read_text(encoding="utf-8"))["validation"]


def test_objects_are_learnt(run):
    found = scores(run)
    assert found["count"] == 4 and found["ap50"] > 0.6 and found["f1"] > 0.6
    assert found["class_ap"].keys() == {*NAMES}
    there = [value for value in found["class_ap"].values() if value is not None]
    assert found["ap"] == pytest.approx(np.mean(there))
    assert 0 < found["threshold"] < 1 and found["aps"] == found["ap"] and found["apl"] is None
    looks = [row for row in Run(run).rows() if "score" in row]
    assert max(row["score"] for row in looks) == found["ap"]
    card = load(run).card
    assert isinstance(load(run), Detector)
    assert (card.kind, card.classes, card.ids) == ("objects", NAMES, IDS)
    assert card.head["frozen_norms"] is False
    assert card.preprocessing.within == (64, 16)


def test_what_was_odd_is_said(run):
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
    said = " ".join(settings["reasons"])
    assert "instances_train2017.json: 1 boxes without area left out" in said
    assert "recipe tiny_detect" in said


def test_the_numbers_are_coco_s_of_the_model_s_answers(run):
    """Worked out apart, from what is in the pictures and what the model says."""
    model, source = load(run), open_data(run.parent / "data", pixels=Pixels(), seed=0).validation
    spotter, total = Spotter(model, model.card), Detection(3)
    for index in range(len(source)):
        answers = spotter.objects(source.read(index))
        assert answers.scores.tolist() == sorted(answers.scores.tolist(), reverse=True)
        total.add(detections(answers), objects(source.scene(index).objects, torch.arange(3)))
    for name, value in total.score().numbers.items():
        found = scores(run)[name.lower()]
        assert value == found if found is not None else value == -1


def test_the_page_shows_classes_curves_and_pictures(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in ("AP50", "Objects", "Precision by recall", "What was taken for what", "of none"):
        assert words in page
    assert page.count('class="scene"') == 4 and "own F1" in page
    assert f"from a score of {scores(run)['threshold']:.2g} on" in page


def test_evaluate_scores_what_the_training_scored(run):
    data = str(run.parent / "data")
    for found in (evaluate(run), evaluate(run, data), evaluate(run, f"objects:{data}")):
        assert found["AP"].value == scores(run)["ap"]
        assert found["F1"].value == scores(run)["f1"]
    finding = found.findings[0]
    assert "whole" in finding.notes[0] and "F1 is best" in finding.notes[1]
    assert "Precision by recall on" in (run / "evaluation.html").read_text(encoding="utf-8")
    all_ = evaluate(run, settings=["threshold=0"], out=run.parent / "kept").findings[0]
    assert all_.confusion[-1].sum() > finding.confusion[-1].sum()  # answers where nothing is
    assert all_["AP"].value == finding["AP"].value and all_["F1"].value < finding["F1"].value


@pytest.mark.parametrize("write", [cells.voc, cells.yolo])
def test_other_layouts_are_scored_by_the_names_of_their_classes(run, tmp_path, write):
    """Their classes may come in another order: VOC's are sorted."""
    found = evaluate(run, str(write(tmp_path / "data")), out=tmp_path / "kept")
    assert found["AP50"].value == pytest.approx(scores(run)["ap50"], abs=0.2)
    assert found.findings[0].count == 4


def test_predict_writes_coco_s_results_and_overlays(run, tmp_path, capsys):
    shutil.copytree(run.parent / "data/images/val", tmp_path / "new")
    (tmp_path / "new/bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(tmp_path / "new"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "bad.png" in said and "cannot be read" in said
    rows = json.loads((out / "detections.json").read_text())
    assert {row["category_id"] for row in rows} <= {*IDS} and len(rows) == 4 * 8 * 3
    model, source = load(run), open_data(run.parent / "data", pixels=Pixels(), seed=0).validation
    first = Spotter(model, model.card).objects(source.read(1))
    mine = [row for row in rows if row["file_name"].endswith("000007.png")]
    x, y, width, height = mine[0]["bbox"]
    assert [x, y, x + width, y + height] == pytest.approx(first.boxes[0].tolist(), abs=0.01)
    assert mine[0]["category_id"] == IDS[int(first.labels[0])]
    for path in sorted((tmp_path / "new").glob("0*.png")):
        with Image.open(path) as old, Image.open(out / f"overlays/{path.stem}.jpg") as new:
            assert old.size == new.size


def test_image_ids_are_the_numbers_that_files_are_called_by(run, tmp_path):
    pictures = run.parent / "data/images/val"
    predict(run, str(pictures), out=tmp_path / "a")
    rows = json.loads((tmp_path / "a/detections.json").read_text())
    assert {row["image_id"] for row in rows} == {0, 7, 14, 21}
    shutil.copy(pictures / "000007.png", tmp_path / "cat.png")
    predict(run, str(tmp_path / "cat.png"), out=tmp_path / "b")
    rows = json.loads((tmp_path / "b/detections.json").read_text())
    assert {row["image_id"] for row in rows} == {1}


def test_predict_names_what_is_sure_enough(run, tmp_path, capsys):
    picture = str(run.parent / "data/images/val/000007.png")
    (usual,) = predict(run, picture, out=tmp_path / "a")
    assert all(score >= scores(run)["threshold"] for score in usual.probabilities)
    (none,) = predict(run, picture, out=tmp_path / "b", threshold=1.0)
    (every,) = predict(run, picture, out=tmp_path / "c", threshold=0.0)
    assert none.boxes == () and len(every.boxes) == 8 * 3 >= len(usual.boxes) > 0
    words = ["predict", str(run), picture, "--out", str(tmp_path / "d")]
    assert main([*words, "--json"]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in row["objects"]] == [*usual.names]
    assert main([*words, "--threshold", "2"]) == 2
    assert main([*words, "--views", "flip"]) == 2
    assert "objects and segments are found in one view" in capsys.readouterr().err


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    data = cells.coco(tmp_path / "data", splits=(("train", 8), ("val", 2)))
    words = ["train", str(data), "--epochs", "4", *SPOTTER, *RATE]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    out, fit = tmp_path / "run", job.fit

    def stopping(state, feed, plan, run, **more):
        return fit(state, feed, plan, run, **more | {"stop": lambda: state.step == 5})

    monkeypatch.setattr(job, "fit", stopping)
    assert main([*words, "--out", str(out)]) == 130
    monkeypatch.setattr(job, "fit", fit)
    assert main([*words, "--out", str(out)]) == 0
    assert differences(tmp_path / "whole", out) == []


def test_slices_of_a_batch_are_the_batch(tmp_path):
    """Though pictures of a slice are padded to the largest in it, and one is empty."""
    data = cells.coco(tmp_path / "data", splits=(("train", 8), ("val", 2)), empty=3)
    for slices in (1, 2):
        words = ["train", str(data), "--out", str(tmp_path / str(slices)), "--epochs", "1"]
        assert main([*words, *SPOTTER, f"accumulate={slices}", "optim.name=sgd"]) == 0
    one, two = (load(tmp_path / str(slices)).state_dict() for slices in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)


def test_validation_pictures_without_objects_have_no_score(tmp_path):
    data = cells.coco(tmp_path / "data", splits=(("train", 4), ("val", 2)), empty=2, odd=False)
    words = ["train", str(data), "--out", str(tmp_path / "run"), "--epochs", "2", *SPOTTER]
    assert main(words) == 0
    assert scores(tmp_path / "run")["ap"] is None


def test_a_classifier_trained_here_is_where_it_starts(run, tmp_path):
    pictures, first = photos(tmp_path / "photos", each=4), tmp_path / "first"
    quick = ("--epochs", "1", "--precision", "fp32", "--workers", "0", "--image-size", "16")
    classes = ("--model", "vit_micro_patch2_8")
    assert main(["train", str(pictures), "--out", str(first), *classes, *quick]) == 0
    data, out = run.parent / "data", tmp_path / "second"
    still = ("--settings", "optim.lr=1e-30")
    words = ["train", str(data), *quick, *still, "--out"]
    assert main([*words, str(out), "--init", str(first)]) == 0
    model, before = load(out), load(first)
    assert (model.card.model, model.card.backbone) == (
        "deformable_detr_small",
        "vit_micro_patch2_8",
    )
    assert model.card.preprocessing.mean == before.card.preprocessing.mean
    kept = model.backbone.blocks[0].attn.qkv.weight
    assert torch.equal(kept, before.backbone.blocks[0].attn.qkv.weight)
    again = tmp_path / "third"
    assert main([*words, str(again), "--init", str(out)]) == 0
    assert torch.equal(load(again).head.level_embed, model.head.level_embed)


def test_a_network_of_one_size_sees_pictures_fitted_into_it(run, tmp_path):
    """An axial one; the rest is filled up with the mean colour."""
    out = tmp_path / "run"
    words = ["train", str(run.parent / "data"), "--out", str(out), "--epochs", "1"]
    words += ["--model", "deformable_detr_small", "--backbone", "axial26s"]
    words += ["--image-size", "64", *cells.QUICK[2:]]
    assert main(words) == 0
    model = load(out)
    frame, reasons = model.card.preprocessing, json.loads((out / "config.json").read_text())
    assert frame.within == (64, 64)
    assert "reads pictures of 64x64 pixels alone" in " ".join(reasons["settings"]["reasons"])
    seen, size = Spotter(model, model.card).fitted(torch.zeros(3, 20, 40, dtype=torch.uint8))
    assert seen.shape[2:] == (64, 64) and size == (32, 64)
    assert not seen[:, :, 32:].any() and seen[:, :, :32].all()
    answers = Spotter(model, model.card).objects(torch.zeros(3, 20, 40, dtype=torch.uint8))
    assert answers.boxes.shape == (8 * 3, 4)


WRONG = {
    ("--model", "segformer_b0"): "segformer_b0 answers with mask, the data has objects",
    ("--model", "vit_micro_patch2_8"): "--model deformable_detr_small --backbone vit_micro_patch2",
    ("--model", "detr"): "name one",
    ("--model", "detr_panoptic_resnet50"): "learns masks of objects, which no training reads yet",
    ("--task", "panoptic"): "has no panoptic beside its pictures; it has: objects",
    ("--recipe", "deit"): "leave --recipe out, or name one such as tiny_detect",
    ("--recipe", "detr"): "name weights to start from with --init",
    ("--settings", "joint.crop=1.0", "joint.sizes={}"): "in the place of scale and crop",
    ("--settings", "detection.alpha=2"): "alpha is 2",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(run, tmp_path, capsys, words):
    out = tmp_path / "run"
    assert main(["train", str(run.parent / "data"), "--out", str(out), *words]) == 2
    said = capsys.readouterr().err
    assert WRONG[words] in said and said.count("\n") == 1 and not out.exists()


def test_protocols_and_data_of_others_are_refused(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--protocol", "topk"]) == 2
    assert "topk does not judge what deformable_detr_small answers" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--protocol", "miou"]) == 2
    assert "miou wants a mask" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--settings", "threshold=7"]) == 2
    assert "wanted: a score from 0 to 1" in capsys.readouterr().err
