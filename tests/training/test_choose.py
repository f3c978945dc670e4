"""What is chosen where nothing is said: model, size, recipe, precision, steps."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data import Pixels
from patchword.engine import devices
from patchword.errors import ConfigError, DataError
from patchword.factory import build
from patchword.recipes.pick import Found, pick
from patchword.training import measure, settle
from patchword.training.choose import choose, measured
from patchword.training.settings import Request
from tests.training.runs import photos

DIGITS = Request(data="digits", precision="fp32", batch_size=48)


def folder(root, size, mode):
    """Write pictures of one size in one mode, which `photos` does not."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for number in range(10):
                pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
                picture = Image.fromarray(pixels).convert(mode)
                picture.save(root / split / name / f"{number}.png")
    return str(root)


def chosen(data, **settings):
    return choose(Request(data=data, device="cpu", **settings))


def described(found):
    """Say in a line what was chosen, having checked that it can be built and used."""
    card, augment = found.card, found.recipe.augment
    channels = len(card.preprocessing.mean)
    with torch.no_grad():
        scores = build(card).eval()(torch.zeros(2, channels, *card.preprocessing.image_size))
    assert scores.shape == (2, len(found.data.train.classes))
    assert card.pixels.channels == channels
    size = "x".join(map(str, card.preprocessing.image_size))
    flip = "flipped" if augment.hflip else "not flipped"
    crop = "cropped" if augment.crop_scale else "whole"
    return f"{channels} channels, {size}, {flip}, {crop}, recipe {found.recipe.name}"


def test_digits():
    found = chosen("digits")
    assert described(found) == "1 channels, 8x8, not flipped, whole, recipe tiny"
    assert found.workers == 0
    assert any("8x8" in reason for reason in found.reasons)


def test_small_grey_pictures(tmp_path):
    found = chosen(folder(tmp_path, (28, 28), "L"))
    assert described(found) == "1 channels, 28x28, not flipped, whole, recipe tiny"


def test_small_colour_pictures(tmp_path):
    found = chosen(folder(tmp_path, (32, 32), "RGB"))
    assert described(found) == "3 channels, 32x32, flipped, whole, recipe tiny"


def test_photos(tmp_path):
    found = chosen(str(photos(tmp_path)))
    assert described(found) == "3 channels, 64x64, flipped, cropped, recipe tiny"


@pytest.mark.parametrize("size", [(9, 7), (15, 12), (28, 20), (33, 31), (64, 64)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_of_any_small_size_can_be_read(tmp_path, size, mode):
    described(chosen(folder(tmp_path, size, mode)))


def test_many_photos_and_a_gpu_get_the_papers_recipe():
    found = Found(10_000, (300, 400), False, False, True)
    picked = pick(found)
    assert (picked.model, picked.image_size) == ("deit_small_patch16_224", (224, 224))
    assert picked.recipe == "deit"
    assert pick(replace(found, pictures=9_999)).recipe == "tiny"
    assert pick(replace(found, accelerator=False)).recipe == "tiny"


def test_what_is_said_is_not_chosen(tmp_path):
    data = str(photos(tmp_path))
    found = chosen(data, model="vit_tiny_patch16_224", recipe="deit", batch_size=4, epochs=2.0)
    assert (found.card.model, found.card.preprocessing.image_size) == (
        "vit_tiny_patch16_224",
        (224, 224),
    )
    assert (found.recipe.name, found.recipe.batch_size, found.recipe.epochs) == ("deit", 4, 2.0)
    assert found.card.config["drop_path_rate"] == found.recipe.drop_path_rate == 0.1
    assert chosen(data, workers=3).workers == 3
    assert chosen(data, image_size=(32, 48)).card.preprocessing.image_size == (32, 48)
    with pytest.raises(ConfigError, match="did you mean"):
        chosen(data, model="vit_tini_patch16_224")


def test_a_share_is_held_out_where_that_is_asked_for():
    found = chosen("digits", holdout=0.25)
    assert len(found.data.train) + len(found.data.validation) == 1437
    assert len(found.data.validation) == pytest.approx(0.25 * 1437, abs=10)
    assert any("--holdout" in reason for reason in found.reasons)
    with pytest.raises(DataError, match="between 0 and 1"):
        chosen("digits", holdout=1.5)


def test_what_is_kept_without_validation_pictures_is_said():
    words = "no validation pictures: the last weights are kept"
    assert any(words in reason for reason in chosen("digits").reasons)
    assert not any(words in reason for reason in chosen("digits", holdout=0.25).reasons)
    with pytest.raises(ConfigError, match="patience needs pictures to look at"):
        chosen("digits", settings=("patience=3",))
    assert chosen("digits", holdout=0.25, settings=("patience=3",)).recipe.patience == 3


def test_unequal_classes_are_said_unless_something_is_done_about_them(tmp_path):
    photos(tmp_path, splits=("train",), classes=("cat",), each=20)
    photos(tmp_path, splits=("val",), classes=("cat", "dog"), each=2)
    photos(tmp_path, splits=("train",), classes=("dog",), each=2)
    (said,) = (r for r in chosen(str(tmp_path)).reasons if "sampling=balanced" in r)
    assert said.startswith("classes have 2 to 20 training pictures")
    settled = chosen(str(tmp_path), settings=("sampling=balanced",)).reasons
    assert not any("classes have" in reason for reason in settled)


def test_mean_and_deviation_are_those_of_the_training_pictures():
    found = chosen("digits")
    pixels = found.data.train.images[:, 0].double() / 255
    frame = measured(found.data.train, found.card.preprocessing, limit=2000)
    assert frame.mean == pytest.approx((pixels.mean().item(),), abs=1e-4)
    assert frame.std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-4)


def test_steps_are_the_minutes_less_what_else_takes_time():
    assert measure.fitting(10.0, spent=20.0, scoring=lambda steps: 74.0, per_step=0.05) == 10_000
    assert measure.fitting(1.0, 10.0, lambda steps: 0.0, 44.0) == 1
    looks = measure.fitting(1.0, 10.0, lambda steps: 10.0 * -(-steps // 10), 1.0)
    assert looks == 20  # in 44 seconds, with two looks; a third has no room
    said = r"--minutes 0.5 is too short: one step, and scoring it, needs 0.6 here"
    with pytest.raises(ConfigError, match=said):
        measure.fitting(0.5, 20.0, lambda steps: 10.0, 0.5)


def test_a_budget_becomes_steps_once(monkeypatch):
    """A minute, of which 10 seconds are over, at 0.1 seconds a step and 2 of evaluation."""
    monkeypatch.setattr(measure, "pace", lambda make, feed, plan: 0.1)
    monkeypatch.setattr(settle, "evaluation_seconds", lambda model, chosen: (0.0, 2.0))
    monkeypatch.setattr(settle.time, "perf_counter", lambda: 1010.0)
    request = replace(DIGITS, minutes=1.0)
    found = settle.settle(request, choose(request), began=1000.0)
    assert found.steps == round((60 - 10 - 2 - measure.RESERVE) / 0.1)
    assert any("100.0 ms per step measured, so 420 steps fit" in r for r in found.reasons)


def test_epochs_become_steps():
    request = replace(DIGITS, epochs=2.5)
    found = settle.settle(request, choose(request), began=0.0)
    assert (found.steps_per_epoch, found.steps) == (1437 // 48, round(2.5 * (1437 // 48)))


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ({"fp32": 0.10, "bf16": 0.05}, "bf16"),
        ({"fp32": 0.05, "bf16": 0.10}, "fp32"),
        ({"fp32": 0.100, "bf16": 0.099}, "fp32"),  # noise is no reason for fewer digits
    ],
)
def test_the_clearly_faster_precision_is_taken(monkeypatch, times, kept):
    monkeypatch.setattr(measure, "faster", lambda step: times)
    request = replace(DIGITS, precision="auto", epochs=1.0)
    found = settle.settle(request, choose(request), began=0.0)
    assert found.precision == kept
    assert any(f"precision {kept}" in reason for reason in found.reasons)
    for said in ("fp32", "bf16"):
        said = replace(request, precision=said)
        assert settle.settle(said, choose(said), began=0.0).precision == said.precision


def test_what_is_measured_leaves_no_trace(monkeypatch):
    """Neither in the network that is trained, nor in the caller's generator."""
    state = torch.random.get_rng_state()
    monkeypatch.setattr(measure, "faster", lambda step: devices.faster(step, seconds=0.01))
    monkeypatch.setattr(measure, "SAMPLE", 0.01)
    request = replace(DIGITS, precision="auto", minutes=1.0)
    found = choose(request)
    settings = settle.settle(request, found, began=time.perf_counter())
    assert settings.steps > 10
    assert torch.equal(state, torch.random.get_rng_state())
    fixed = replace(request, precision=settings.precision, minutes=None, epochs=1.0)
    unmeasured = settle.make_state(found, settle.settle(fixed, choose(fixed), began=0.0))
    weights = settle.make_state(found, settings).weights()
    assert all(torch.equal(weights[name], t) for name, t in unmeasured.weights().items())


def test_the_pixel_contract_is_asked_for_by_path_and_kept_on_the_card(tmp_path):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            values = draw.integers(0, 4096, (16, 16), dtype=np.uint16)
            Image.fromarray(values).save(tmp_path / name / f"{number}.png")
    found = chosen(str(tmp_path))
    said = [note for note, _ in found.census.train.notes]
    assert said == [
        "16-bit greys from 0 to 65535 scaled",
        "no more than 17 of 256 levels used; state pixels.window",
    ]
    settings = ("pixels.window=[0,4095]", "pixels.max_pixels=1000")
    found = chosen(str(tmp_path), settings=settings)
    assert found.card.pixels == Pixels(channels=1, window=(0.0, 4095.0), max_pixels=1000)
    assert [note for note, _ in found.census.train.notes] == ["16-bit greys from 0 to 4095 scaled"]
    assert found.data.train.read(0).max() > 240
    assert chosen(str(tmp_path), settings=("pixels.channels=3",)).card.pixels.channels == 3
    with pytest.raises(ConfigError, match=r"did you mean 'window'"):
        chosen(str(tmp_path), settings=("pixels.windo=[0,1]",))
    with pytest.raises(ConfigError, match="wanted: what becomes black"):
        chosen(str(tmp_path), settings=("pixels.window=[9,1]",))


def test_bands_are_channels(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            values = draw.integers(0, 256, (16, 16, 5), dtype=np.uint8)
            path = tmp_path / name / f"{number}.tif"
            tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    found = chosen(str(tmp_path), settings=("pixels.bands=[0,1,2,3,4]",))
    assert described(found).startswith("5 channels, 16x16")
    with pytest.raises(DataError, match=r"state pixels\.bands"):
        chosen(str(tmp_path))
