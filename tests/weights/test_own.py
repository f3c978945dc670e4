"""Our own folders: whole or not at all, exact, and adapted out loud."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import patchword
from patchword.adaptation import adapt
from patchword.conversion import save
from patchword.errors import ConfigError, WeightsError
from patchword.factory import create_model
from patchword.weights.files import read, write
from tests.weights.foreign import CLASSES, images, moved


def model_of(name="vit_tiny_patch16_224", **settings):
    model = moved(create_model(name, **{"num_classes": len(CLASSES), "image_size": 32, **settings}))
    model.card = replace(model.card, classes=CLASSES, provenance={"data": "none"})
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"name": "deit_tiny_distilled_patch16_224", "image_size": (32, 64)},
        {"pretraining_head": True, "drop_rate": 0.1, "in_chans": 1},
        {"name": "vit_mini_patch4_28", "image_size": 28},
        {"name": "vitc_mini_32"},
    ],
    ids=str,
)
def test_a_folder_is_the_model_again_bit_for_bit(tmp_path, settings):
    model = model_of(**settings)
    save(model, tmp_path)
    again = patchword.load(tmp_path)
    assert again.card == model.card and not again.training
    tensors = again.state_dict()
    assert all(torch.equal(tensors[name], t) for name, t in model.state_dict().items())
    size, channels = model.card.preprocessing.image_size, len(model.card.preprocessing.mean)
    assert torch.equal(again(images(size, channels)), model(images(size, channels)))


def test_another_resolution_and_other_classes_are_reported():
    model = model_of("vit_tiny_patch16_224")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made, done = adapt(model, image_size=(48, 32), num_classes=3)
    (positions,) = done.resampled
    assert "positions resampled from 2x2 to 3x2 (bicubic_antialias); root mean" in positions
    assert done.new == ("the head of 3 classes",) and done.dropped == ("the head of 5 classes",)
    assert done.kept == len(before) - 3
    assert made(images((48, 32))).shape == (2, 3)
    assert made.card.num_classes == 3 and made.card.classes is None
    assert made.card.preprocessing.image_size == (48, 32)
    pooled = [m.backbone(images((48, 32))).pooled for m in (made.eval(), model)]
    torch.testing.assert_close(*pooled)  # resampling once is resampling at every call
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    same, nothing = adapt(model, image_size=32, num_classes=5)
    assert same is model and nothing.lines == [] and nothing.kept == len(before)


def test_loading_adapts(tmp_path):
    save(model_of(), tmp_path)
    made = patchword.load(tmp_path, image_size=64, num_classes=2)
    assert made(images((64, 64))).shape == (2, 2) and not made.training


def test_a_model_of_another_shape_is_refused_in_one_line(tmp_path):
    save(model_of(), tmp_path, format="timm")
    with pytest.raises(WeightsError) as caught:
        patchword.load(tmp_path / "model.safetensors", model="vit_small_patch16_224")
    said = str(caught.value)
    assert said.count("shape of") == 8 and said.endswith("and 143 more") and "\n" not in said
    with pytest.raises(ConfigError, match="did you mean 'vit_tiny_patch16_224'"):
        patchword.load(tmp_path / "model.safetensors", model="vit_tiny_patch16_22")


def test_a_bare_file_that_fits_two_models_asks_which(tmp_path):
    path = tmp_path / "weights.safetensors"
    save(model_of("deit_tiny_patch16_224", image_size=224), tmp_path, format="timm")
    (tmp_path / "model.safetensors").rename(path)
    with pytest.raises(ConfigError, match="fit deit_tiny_patch16_224, vit_tiny_patch16_224: say"):
        patchword.load(path)
    assert patchword.load(path, model="deit_tiny_patch16_224").card.num_classes == len(CLASSES)


def test_a_bare_file_of_ours_is_told_by_its_shapes(tmp_path):
    model = model_of("vit_mini_patch8_64", image_size=64)
    save(model, tmp_path)
    again = patchword.load(tmp_path / "model.safetensors")
    assert again.card.model == "vit_mini_patch8_64"
    assert torch.equal(again(images((64, 64))), model(images((64, 64))))


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7), "c": torch.ones(2).bfloat16()}


def test_tensors_are_written_and_read_exactly(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, TENSORS, {"step": 3})
    found = read(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in TENSORS.items())
    assert [*tmp_path.iterdir()] == [path]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    import safetensors.torch

    path = tmp_path / "w.safetensors"
    write(path, TENSORS)
    old = path.read_bytes()

    def full(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        write(path, {"a": torch.zeros(1)})
    assert path.read_bytes() == old and [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    write(path, TENSORS)
    old = path.read_bytes()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from patchword.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == old
    write(path, {"a": torch.zeros(1)})  # the next one writes over what was left
    assert read(path).keys() == {"a"} and [*tmp_path.iterdir()] == [path]
