"""What is seen has a seed of its own, so that students of one teacher share its answers."""

import json

import pytest
import torch
from torch import nn

from patchword import evaluate, train
from patchword.conversion import save
from patchword.errors import ConfigError
from patchword.factory import create_model
from patchword.training.settings import Request, stored
from patchword.training.teacher import Teacher
from patchword.weights.files import read
from tests.training.runs import photos

MODEL = "vit_mini_patch4_32"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Pictures without splits, which a seed has to make, and a teacher that knows their classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("seen")
    photos(folder / "photos", splits=("all",), each=10)
    model = create_model(MODEL, num_classes=3)
    nn.init.normal_(model.head["label"].weight)
    save(model, folder / "teacher")
    return folder


def trained(places, name, **seeds):
    return train(
        str(places / "photos" / "all"),
        out=places / name,
        teacher=places / "teacher",
        cache=places / "cache",
        model=MODEL,
        precision="fp32",
        workers=0,
        device="cpu",
        settings=["steps=3", "batch_size=8", "mixing.mixup=0.8", "augment.erase=0.5"],
        **seeds,
    )


def test_students_of_other_seeds_read_the_same_answers(places, monkeypatch):
    one = trained(places, "one", seed=1, view_seed=7)
    kept = {path: path.read_bytes() for path in (places / "cache").rglob("*.records")}
    assert len(kept) == 2  # of the batches, and of the held-out pictures

    def forbidden(*rest):
        pytest.fail("the teacher was asked again")

    monkeypatch.setattr(Teacher, "answer", forbidden)
    two = trained(places, "two", seed=2, view_seed=7)
    now = {path: path.read_bytes() for path in (places / "cache").rglob("*.records")}
    assert now == kept
    weights = [read(run.path / "model.safetensors") for run in (one, two)]
    name = "backbone.blocks.0.attn.qkv.weight"
    assert not torch.equal(weights[0][name], weights[1][name])
    settings = json.loads((one.path / "config.json").read_text())["settings"]["request"]
    assert (settings["seed"], settings["view_seed"]) == (1, 7)
    fingerprints = {stored(run.path).fingerprint for run in (one, two)}
    assert len(fingerprints) == 1  # the same split, too
    assert evaluate(two).findings[0].count == two.scores["validation"]["count"]
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        trained(places, "three", seed=2, view_seed=8)


def test_it_is_the_run_s_own_seed_where_nothing_is_said():
    assert (Request(data="x", seed=3).views, Request(data="x", seed=3).seeds) == (3, "3")
    apart = Request(data="x", seed=3, view_seed=0)
    assert (apart.views, apart.seeds) == (0, "3, views 0")
    with pytest.raises(ConfigError, match="--view-seed -1: wanted: 0 or more"):
        Request(data="x", view_seed=-1)
