"""Trainings that start from a trained model: adapted to larger images, and all of it said."""

import json
from dataclasses import replace

import pytest
import torch

from patchword import load, train
from patchword.adaptation import adapt
from patchword.conversion import save
from patchword.data import frame
from patchword.errors import ConfigError
from patchword.factory import build, create_model, describe
from patchword.training.choose import choose
from patchword.training.make import make_feed, make_state
from patchword.training.settings import Request, stored
from patchword.training.settle import settle
from tests.training.runs import photos
from tests.weights.foreign import moved

CLASSES = ("cat", "dog", "hen")
SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}
STAGES = {"embed_dim": (8, 16, 16, 16), "num_heads": (1, 2, 2, 2), "depth": (1, 1, 1, 1)}
WINDOWS = {"embed_dim": 16, "depth": (2, 2), "num_heads": (2, 2), "window_size": (8, 8)}
OFFSETS = "numbers by offset resampled from"
FAMILIES = {  # name: settings, the change of size, and what is said of it
    "deit_mini_patch4_32": (SMALL, 32, 48, "positions resampled from 8x8 to 12x12"),
    "swin_mini_patch2_32": (WINDOWS, 24, 32, f"{OFFSETS} 6x6 to 8x8 cells"),
    "swinv2_tiny_window8_256": (
        {**WINDOWS, "pretrained_window_sizes": (0, 0)},
        48,
        64,
        "tensors kept",
    ),
    "beit_base_patch16_224": (
        {**SMALL, "patch_size": 8},
        32,
        48,
        f"{OFFSETS} 4x4 to 6x6 cells",
    ),
    "pvt_tiny": (STAGES, 32, 64, "positions resampled from 8x8 to 16x16 (bilinear)"),
    "levit_128s": (
        {"embed_dim": (16, 16, 16), "num_heads": (1, 1, 1), "depth": (1, 1, 1)},
        64,
        96,
        f"{OFFSETS} 4x4 to 6x6 cells",
    ),
    "cvt_mini_32": ({}, 32, 48, "tensors kept"),
}
TRAINED = ("deit_mini_patch4_32", "swin_mini_patch2_32", "beit_base_patch16_224", "pvt_tiny")
LEARNT = ("backbone.norm", "head.label")
FAST = {"batch_size": 6, "epochs": 1.0, "workers": 0, "device": "cpu", "precision": "fp32"}


def saved(folder, name, size, settings, classes=CLASSES):
    """Write a small model of a family, every tensor moved from its start, with its own colours."""
    card = describe(name, num_classes=len(classes), image_size=size)
    frame = replace(card.preprocessing, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    card = replace(card, config={**card.config, **settings}, preprocessing=frame, classes=classes)
    save(moved(build(card)), folder)
    return str(folder)


def begun(request):
    chosen = choose(request)
    return chosen, make_state(chosen, settle(request, chosen, began=0.0)).task.model


@pytest.mark.parametrize("name", FAMILIES)
def test_larger_images(name, tmp_path, capsys):
    settings, before, after, said = FAMILIES[name]
    init = saved(tmp_path / "init", name, before, settings)
    data = str(photos(tmp_path / "photos"))
    chosen, model = begun(Request(data=data, init=init, image_size=(after, after), **FAST))
    wanted, report = adapt(load(init), image_size=after)
    tensors = model.state_dict()
    assert {*tensors} == {*wanted.state_dict()}
    assert all(torch.equal(tensors[key], t) for key, t in wanted.state_dict().items())
    assert not report.new and not report.dropped  # the classes are the same: so is the head
    card = chosen.card
    assert card.preprocessing.image_size == (after, after)
    assert (card.preprocessing.mean, card.preprocessing.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    if name not in TRAINED:
        assert said in "\n".join(chosen.start.words)
        return
    run = train(data, init=init, image_size=after, out=tmp_path / "run", **FAST)
    printed = capsys.readouterr().out
    assert f"init      {init}: {report.kept} tensors kept\n" in printed
    assert said in printed and f"images {after}x{after}" in printed
    assert ("(and 1 more so)" in printed) == (name in TRAINED[1:3])  # a line for both blocks
    kept = json.loads((run.path / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert (kept["init"], kept["adapted"]) == (init, report.lines)
    trained = load(run.path).state_dict()
    assert any(not torch.equal(trained[key], tensors[key]) for key in tensors)


def test_the_head_keeps_the_rows_of_classes_of_equal_names(tmp_path):
    classes = ("hen", "owl", "cat")
    init = saved(tmp_path / "init", "deit_mini_patch4_32", 32, SMALL, classes)
    data = str(photos(tmp_path / "photos"))
    chosen, model = begun(Request(data=data, init=init, **FAST))
    old, new = load(init).head["label"].weight, model.head["label"].weight
    assert torch.equal(new[0], old[2]) and torch.equal(new[2], old[0])
    assert "1 of the head's 3 rows; 2 are of classes of equal names" in str(chosen.start.words)
    assert chosen.card.classes == CLASSES


def test_classes_without_names_are_assumed_and_said(tmp_path):
    init = saved(tmp_path / "init", "deit_mini_patch4_32", 32, SMALL)
    config = tmp_path / "init" / "config.json"
    card = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**card, "classes": None}), encoding="utf-8")
    chosen, _ = begun(Request(data=str(photos(tmp_path / "photos")), init=init, **FAST))
    assert "its 3 classes have no names and are taken in the data's order" in str(
        chosen.start.words
    )


def test_a_name_of_the_same_network_brings_its_windows():
    """As Swin is fine-tuned at 384 pixels with windows of 12 cells."""
    model = moved(create_model("swin_tiny_patch4_window7_224", num_classes=3))
    made, report = adapt(model, name="swin_s3_tiny_224")
    assert made.card.model == "swin_s3_tiny_224" and len(report.resampled) == 6
    assert all("from 7x7 to 14x14 cells" in line for line in report.resampled)
    old, new = (m.backbone.stages[2].blocks[0].attn.bias for m in (model, made))
    assert torch.equal(new.table, old.at((14, 14)))
    with pytest.raises(ConfigError, match=r"cannot be made .* its depth is another"):
        adapt(made, name="swin_base_patch4_window7_224")


def test_what_was_learnt_is_kept_by_a_low_rate_unless_another_recipe_is_named(tmp_path):
    init = saved(tmp_path / "init", "deit_mini_patch4_32", 32, SMALL)
    data = str(photos(tmp_path / "photos"))
    found = choose(Request(data=data, init=init, device="cpu"))
    afresh = choose(Request(data=data, device="cpu"))
    assert (found.recipe.name, afresh.recipe.name) == ("finetune", "tiny")
    assert found.recipe.optim.lr < afresh.recipe.optim.lr / 5
    assert found.recipe.optim.layer_decay < 1
    assert "recipe finetune, as --init starts from what was learnt" in str(found.reasons)
    for name in ("tiny", "vit_finetune"):
        named = choose(Request(data=data, init=init, recipe=name, image_size=(32, 32)))
        assert named.recipe.name == name


def test_another_family_is_refused(tmp_path):
    init = saved(tmp_path / "init", "deit_mini_patch4_32", 32, SMALL)
    with pytest.raises(ConfigError, match="cannot be made pvt_tiny: it is of another family"):
        choose(Request(data=str(photos(tmp_path / "photos")), init=init, model="pvt_tiny"))
    taught = {"teacher": init, "token": True}
    with pytest.raises(ConfigError, match="has no distillation token: leave --token out"):
        choose(Request(data=str(tmp_path / "photos"), init=init, **taught))


def test_fixres_changes_head_and_last_norm_and_shows_pictures_as_tests_do(tmp_path):
    init = saved(tmp_path / "init", "deit_mini_patch4_32", 32, SMALL)
    data = str(photos(tmp_path / "photos"))
    words = {"init": init, "recipe": "fixres", "settings": ("optim.lr=10",)}
    run = train(data, image_size=48, out=tmp_path / "run", **{**FAST, "epochs": 2.0}, **words)
    before, after = adapt(load(init), image_size=48)[0].state_dict(), load(run.path).state_dict()
    changed = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert changed == {f"{part}.{kind}" for part in LEARNT for kind in ("weight", "bias")}
    chosen = choose(Request(data=data, image_size=(48, 48), **words))
    batch = make_feed(chosen, stored(run.path)).batches[0]
    pictures = [chosen.data.train.read(i) for i in batch.indices.tolist()]
    wanted = torch.stack([frame(p, chosen.card.preprocessing) for p in pictures])
    assert torch.equal(batch.images, wanted)


def test_fixres_starts_from_trained_weights(tmp_path):
    with pytest.raises(ConfigError, match="fixres leaves the backbone, or a part of it"):
        choose(Request(data=str(photos(tmp_path / "photos")), recipe="fixres"))
