"""Sizes that grow over a training: each step's is a function of its number, resumed or not."""

import signal

import pytest
import torch

from patchword.data import Frame, TrainBatches
from patchword.errors import ConfigError
from patchword.recipes import recipe
from patchword.training import measure
from patchword.training.choose import choose
from patchword.training.feed import sizes
from patchword.training.make import make_feed
from patchword.training.settings import Request, changed
from patchword.training.settle import settle
from tests.training.runs import FAST, STEPS_PER_EPOCH, differences, photos

GROWING = "resolution=[[0,16],[0.5,24],[0.8,32]]"


def request(data, *settings, **words):
    return Request(data=data, device="cpu", precision="fp32", settings=settings, **words)


def test_pictures_have_the_sizes_that_their_steps_say(tmp_path):
    data = str(photos(tmp_path))
    asked = request(data, GROWING, model="deit_mini_patch4_32", epochs=5.0, batch_size=6)
    chosen = choose(asked)
    assert chosen.card.preprocessing.image_size == (32, 32)
    settings = settle(asked, chosen, began=0.0)
    assert settings.steps == 15
    feed = make_feed(chosen, settings)
    seen = [step[0].images.shape[2:] for step, _ in zip(feed(0), range(15), strict=False)]
    assert seen == [(16, 16)] * 8 + [(24, 24)] * 4 + [(32, 32)] * 3
    assert next(feed(12))[0].images.shape[2:] == (32, 32)  # wherever it begins


def test_a_batch_is_that_of_a_training_at_its_size_throughout(tmp_path):
    source = choose(request(str(photos(tmp_path)))).data.train
    augment = recipe("deit").augment
    frames = [Frame(image_size=(side, side)) for side in (16, 24)]
    common = {"augment": augment, "batch_size": 6, "seed": 3}
    growing = TrainBatches(source, frame=frames[0], later=[(4, frames[1])], **common)
    for number in (3, 4):
        plain = TrainBatches(source, frame=frames[number - 3], **common)[number]
        assert torch.equal(growing[number].images, plain.images)
        assert torch.equal(growing[number].indices, plain.indices)


def test_a_training_goes_on_across_a_change_of_size(ends, tmp_path):
    words = [*FAST, "--epochs", "1", "--image-size", "8", "--model", "vit_micro_patch2_8"]
    words[words.index("--settings") + 1 : words.index("--settings") + 1] = [
        "resolution=[[0,4],[0.5,6],[0.75,8]]"
    ]
    kills = [
        {"step": share * STEPS_PER_EPOCH // 4, "seconds": 0.0, "signal": signal.SIGKILL}
        for share in (1, 2)
    ]
    assert ends(words, tmp_path / "whole", [{}]) == [0]
    found = ends(words, tmp_path / "killed", [*kills, {}], save_seconds=0.0)
    assert found == [-signal.SIGKILL] * 2 + [0]
    assert differences(tmp_path / "whole", tmp_path / "killed") == []


def test_the_time_of_a_step_is_the_mean_over_the_sizes(tmp_path, monkeypatch):
    asked = request(str(photos(tmp_path)), GROWING, model="deit_mini_patch4_32", epochs=5.0)
    chosen = choose(asked)
    settings = settle(asked, chosen, began=0.0)
    feed = make_feed(chosen, settings)
    monkeypatch.setattr(measure, "_pace", lambda state, feed, plan, first, sample: float(first))
    found = measure.pace(lambda: None, feed, measure.Plan(steps=settings.steps, batch_size=6))
    firsts = [
        first for first, _ in sizes(settings.recipe, Frame(image_size=(8, 8)), settings.steps)
    ]
    counts = [b - a for a, b in zip(firsts, [*firsts[1:], settings.steps], strict=True)]
    assert found == pytest.approx(
        sum(n * first for n, first in zip(counts, firsts, strict=True)) / settings.steps
    )


@pytest.mark.parametrize("model", ["levit_128s", "beit_base_patch16_224"])
def test_a_family_of_one_size_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match=f"resolution: {model} cannot change size") as caught:
        choose(request(str(photos(tmp_path)), GROWING, model=model, image_size=(32, 32)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["[[0.1,16]]", "[[0,16],[0.5,24],[0.5,32]]", "[[0,16],[1,24]]"])
def test_shares_begin_at_0_and_rise(wrong):
    with pytest.raises(ConfigError, match="the first share 0"):
        changed(recipe("tiny"), [f"resolution={wrong}"])
