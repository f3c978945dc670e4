"""Every recipe trains a small model on a few pictures, for two steps."""

import json
from dataclasses import replace

import pytest
import torch

from patchword import load, train
from patchword.conversion import save
from patchword.errors import ConfigError
from patchword.factory import create_model
from patchword.training.choose import choose
from patchword.training.settings import Request
from patchword.weights.files import read
from tests.training.runs import photos

MODEL = "vit_mini_patch4_32"
STARTS = ("linear_probe", "vit_finetune", "bit_hyperrule")  # from trained weights
NAMES = ("deit3", "deit3_21k", "plain_vit", "vit", "vit_pretrain", "deit", *STARTS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("photos") / "photos", each=8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a network to start from, of two classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    save(create_model(MODEL, num_classes=2), folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_two_steps(name, data, trained, tmp_path):
    run = train(
        str(data),
        out=tmp_path / "run",
        recipe=name,
        model=MODEL,
        init=trained if name in STARTS else None,
        image_size=32,
        precision="fp32",
        workers=0,
        device="cpu",
        settings=["steps=2"],
    )
    settings = json.loads((run.path / "config.json").read_text())["settings"]
    assert (settings["steps"], settings["recipe"]["name"]) == (2, name)
    assert settings["recipe"]["batch_size"] == 24 // 20 * 2  # of 24 pictures
    rows = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2 and all(row["loss"] > 0 for row in rows if "loss" in row)
    assert len(load(run.path).card.classes) == 3


def test_a_linear_probe_leaves_the_backbone_as_it_is(data, trained, tmp_path):
    common = {"precision": "fp32", "workers": 0, "device": "cpu", "settings": ["steps=2"]}
    words = {"recipe": "linear_probe", "model": MODEL, "lr": 1.0}
    run = train(str(data), out=tmp_path / "run", init=trained, **words, **common)
    before, after = (read(f / "model.safetensors") for f in (trained, run.path))
    for name, tensor in after.items():
        same = before[name].shape == tensor.shape and torch.equal(tensor, before[name])
        assert same == name.startswith("backbone."), name
    with pytest.raises(ConfigError, match="name weights to start from with --init"):
        train(str(data), out=tmp_path / "none", **words, **common)
    assert not (tmp_path / "none").exists()


def test_a_recipe_s_own_image_size_gives_way_to_what_is_said(data, tmp_path):
    request = Request(data=str(data), model="vit_tiny_patch16_224", recipe="vit_finetune")
    found = choose(request)
    assert found.card.preprocessing.image_size == (384, 384)
    assert (found.recipe.steps, found.recipe.image_size) == (500, (384, 384))
    said = Request(data=str(data), model="vit_tiny_patch16_224", recipe="bit_hyperrule")
    assert choose(said).card.preprocessing.image_size == (128, 128)  # 60 x 80 pixels
    found = choose(replace(said, image_size=(64, 64), epochs=3.0))
    assert found.card.preprocessing.image_size == (64, 64)
    assert (found.recipe.steps, found.recipe.epochs) == (None, 3.0)
