"""Scenes from a folder to a run, its scores, its page and its answers: masks and depths."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from patchword import evaluate, load, predict, train
from patchword.cli import main
from patchword.data import Pixels, decode, open_data
from patchword.engine.run import Run
from patchword.errors import ConfigError
from patchword.evaluation.miou import Confusion
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.heads.dense import Dense
from patchword.pages.overlays import palette
from patchword.training import job
from tests.training.places import HEAD, QUICK, depths, masks
from tests.training.runs import differences, photos

STEPS = 3  # of an epoch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on masks, whose data is beside it."""
    folder = tmp_path_factory.mktemp("masks")
    data = masks(folder / "data")
    words = ["train", str(data), "--out", str(folder / "run"), "--epochs", "20", *HEAD, *QUICK]
    assert main(words) == 0
    return folder / "run"


def scores(run):
    return json.loads((run / "scores.json").read_text(encoding="utf-8"))["validation"]


def test_masks_are_learnt(run):
    found = scores(run)
    assert found["count"] == 4 and found["miou"] > 0.8 and found["pixel_accuracy"] > 0.9
    assert found["iou"].keys() == {"red", "green", "blue"}
    assert found["miou"] == pytest.approx(np.mean([*found["iou"].values()]))
    looks = [row for row in Run(run).rows() if "score" in row]
    assert max(row["score"] for row in looks) == found["miou"]  # the best weights were kept
    model = load(run)
    assert isinstance(model, Dense)
    card = model.card
    assert (card.kind, card.backbone, card.classes[0]) == ("mask", "vit_micro_patch2_8", "red")
    assert card.preprocessing.image_size == (16, 16) and card.preprocessing.within is not None


def test_the_page_shows_classes_and_pictures(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    for words in ("IoU", "Pixels", "What was taken for what", "What nobody labelled is dark"):
        assert words in page
    assert page.count('class="scene"') == 4 and "answer to images/val/0.png" in page


def test_evaluate_scores_what_the_training_scored(run):
    data = str(run.parent / "data")
    for found in (evaluate(run), evaluate(run, data), evaluate(run, f"mask:{data}")):
        assert found["mIoU"].value == scores(run)["miou"]
        assert found["loss"].value == scores(run)["loss"]
    assert "through windows" not in found.findings[0].notes[0]
    assert (run / "evaluation.html").exists()


def test_scores_are_of_the_label_s_own_pixels(run):
    """Summed by hand from the model's answers, resized to each mask."""
    model, source = load(run), open_data(run.parent / "data", pixels=Pixels(), seed=0).validation
    viewer, total = Viewer(model, model.card), Confusion(3)
    for index in range(len(source)):
        mask = viewer.classes(source.read(index), Viewing())
        assert mask.shape == source.scene(index).mask.shape
        total.add(mask, source.scene(index).mask)
    assert total.score().mean_iou == scores(run)["miou"]


@pytest.mark.parametrize(
    "settings",
    [
        ("view.by=windows", "view.stride=0.5"),
        ("view.by=windows", "view.window=[12,12]", "view.flip=true"),
        ("view.scales=[0.75,1.0,1.5]", "view.flip=true"),
    ],
)
def test_pictures_are_seen_as_asked(run, settings):
    found = evaluate(run, settings=settings)
    assert 0.6 < found["mIoU"].value <= 1 and found["loss"].value > 0
    seen = "through windows of 1" if "view.by=windows" in settings else "whole, 3 scales, mirrored"
    assert seen in found.findings[0].notes[0]


def test_classes_may_come_in_another_order(run, tmp_path):
    data = masks(tmp_path / "data", names=("green", "red", "blue"))
    found = evaluate(run, str(data), split="validation").findings[0]
    before = evaluate(run).findings[0]
    assert found.confusion.sum(axis=1)[[1, 0, 2]].tolist() == before.confusion.sum(axis=1).tolist()
    assert found["mIoU"].value < 0.5  # what was red is called green now
    masks(tmp_path / "strange", names=("green", "red", "pink"))
    assert main(["evaluate", str(run), str(tmp_path / "strange")]) == 2


def test_predict_writes_masks_and_overlays(run, tmp_path, capsys):
    shutil.copytree(run.parent / "data/images", tmp_path / "new")
    (tmp_path / "new/val/bad.png").write_bytes(b"no picture")
    words = ["predict", str(run), str(tmp_path / "new"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "bad.png" in said and "cannot be read" in said
    source = open_data(run.parent / "data", pixels=Pixels(), seed=0).validation
    hits = []
    for index in range(4):
        name = source.name(index).removeprefix("images/")
        with Image.open(tmp_path / "out/masks" / name) as image:
            assert image.mode == "P"
            assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), palette())
            mask = torch.from_numpy(np.array(image))
        hits.append((mask == source.scene(index).mask).float().mean().item())
        overlay = (tmp_path / "out/overlays" / name).with_suffix(".jpg")
        assert decode(overlay, Pixels()).shape[1:] == mask.shape
    assert np.mean(hits) > 0.85
    found = predict(run, str(tmp_path / "new/val"), out=tmp_path / "again", views=("flip",))
    good = [each for each in found if each.error is None]
    assert len(good) == 4 and all(sum(each.shares) == pytest.approx(1) for each in good)
    assert main([*words, "--json", "--top", "1"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows[0]["shares"]) == 1 and len(rows[0]["written"]) == 2


def test_a_stopped_run_goes_on_bit_for_bit(run, tmp_path, monkeypatch):
    data, out = run.parent / "data", tmp_path / "run"
    words = ["train", str(data), "--out", str(out), "--epochs", "20", *HEAD, *QUICK]
    whole = job.fit

    def stopping(state, feed, plan, run, **more):
        return whole(state, feed, plan, run, **more | {"stop": lambda: state.step == 25})

    monkeypatch.setattr(job, "fit", stopping)
    assert main(words) == 130
    monkeypatch.setattr(job, "fit", whole)
    assert main(words) == 0
    assert differences(run, out) == []


def test_slices_of_a_batch_are_the_batch(tmp_path):
    data = masks(tmp_path / "data", splits=(("train", 8), ("val", 2)))
    for slices in (1, 2):
        words = ["train", str(data), "--out", str(tmp_path / str(slices)), "--epochs", "1", *HEAD]
        words += [*QUICK, f"accumulate={slices}", "optim.name=sgd"]
        words[words.index("segformer")] = "segmenter"  # no batch norm
        assert main(words) == 0
    one, two = (load(tmp_path / str(slices)).state_dict() for slices in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)


def constant(data):
    """Return the least relative error, and the largest share within 1.25, of one depth for all."""
    stored = [np.asarray(Image.open(path)) for path in (data / "depth" / "val").glob("*.png")]
    metres = np.concatenate([each[each > 0] for each in stored]) / 100
    said = np.linspace(metres.min(), metres.max(), 100)[:, None]
    share = (np.maximum(said / metres, metres / said) < 1.25).mean(1).max()
    return (abs(said - metres) / metres).mean(1).min(), share


def test_depths_are_learnt_and_written(tmp_path):
    data, out = depths(tmp_path / "data"), tmp_path / "run"
    words = ["train", str(data), "--out", str(out), "--epochs", "30"]
    words += ["--model", "dpt_mit_b0", "--image-size", "32", *QUICK]
    assert main(words) == 0
    found = scores(out)
    error, share = constant(data)
    assert found["absrel"] < error / 2 and found["delta1"] > share
    assert "The lighter, the nearer" in (out / "report.html").read_text(encoding="utf-8")
    assert evaluate(out)["AbsRel"].value == found["absrel"]
    flat = evaluate(out, settings=["alignment=median"])["AbsRel"].value
    assert flat != found["absrel"]
    (answer,) = predict(out, str(data / "rgb/val/0.png"), out=tmp_path / "out")
    with Image.open(answer.written[0]) as image:
        with Image.open(data / "rgb/val/0.png") as picture:
            assert image.mode == "I;16" and image.size == picture.size
        near = np.array(image).astype(float)
    metres = open_data(data, pixels=Pixels(), seed=0).validation.scene(0).depth.numpy()
    known = metres > 0
    assert np.corrcoef(near[known], 1 / metres[known])[0, 1] > 0.8
    assert (near.min(), near.max()) == (0, 65535)


def test_a_classifier_trained_here_is_where_it_starts(run, tmp_path):
    pictures = photos(tmp_path / "photos", each=4)
    first = tmp_path / "first"
    quick = ("--epochs", "1", "--precision", "fp32", "--workers", "0")
    classes = ("--model", "vit_micro_patch2_8", "--image-size", "16")
    assert main(["train", str(pictures), "--out", str(first), *classes, *quick]) == 0
    data, out = run.parent / "data", tmp_path / "second"
    words = ["train", str(data), "--out", str(out), "--init", str(first), *quick]
    assert main([*words, "--image-size", "16", "--settings", "optim.lr=1e-30"]) == 0
    model, before = load(out), load(first)
    assert (model.card.model, model.card.backbone) == ("segmenter", "vit_micro_patch2_8")
    assert model.card.preprocessing.mean == before.card.preprocessing.mean
    kept = model.backbone.blocks[0].attn.qkv.weight
    assert torch.equal(kept, before.backbone.blocks[0].attn.qkv.weight)
    again = tmp_path / "third"
    words = ["train", str(data), "--out", str(again), "--init", str(out), *quick]
    assert main([*words, "--image-size", "16", "--settings", "optim.lr=1e-30"]) == 0
    assert torch.equal(load(again).head.enter.weight, model.head.enter.weight)


WRONG = {
    ("--model", "dpt", "--backbone", "vit_micro_patch2_8"): "dpt answers with depth, the data has",
    ("--model", "vit_micro_patch2_8"): "--model segmenter --backbone vit_micro_patch2_8",
    ("--model", "segmenter"): "name one",
    ("--task", "depth"): "has no depth beside its pictures; it has: mask",
    ("--recipe", "deit"): "the recipe deit does not learn what this data says place by place",
    ("--settings", "mixing.mixup=0.2"): "mixing is of whole pictures",
    ("--settings", "joint.sizes={}"): "in the place of scale and crop",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_what_cannot_be_is_one_line(run, tmp_path, capsys, words):
    out = tmp_path / "run"
    assert main(["train", str(run.parent / "data"), "--out", str(out), *words]) == 2
    said = capsys.readouterr().err
    assert WRONG[words] in said and said.count("\n") == 1 and not out.exists()


def test_protocols_and_flags_of_others_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="topk does not judge what segformer answers, a mask"):
        evaluate(run, protocol="topk")
    with pytest.raises(ConfigError, match="--backbone mit_b0 is for heads"):
        train(str(photos(tmp_path / "photos", each=3)), backbone="mit_b0", out=tmp_path / "x")
    with pytest.raises(ConfigError, match="crops: every pixel is answered already"):
        predict(run, str(run.parent / "data/images"), views=("crops",), out=tmp_path / "y")
