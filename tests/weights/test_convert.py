"""Models in other formats: what is written is read back the same, bit for bit."""

from dataclasses import replace

import pytest
import torch

import patchword
from patchword.cli import main
from patchword.errors import ConfigError, WeightsError
from patchword.factory import build, create_model
from patchword.weights.files import read
from tests.weights.foreign import images, moved

WRITTEN = {
    "vit_tiny_patch16_224": ("patchword", "timm", "transformers", "torchvision"),
    "deit_tiny_distilled_patch16_224": ("timm", "transformers"),
    "deit3_small_patch16_224": ("authors",),
    "vit_xsmall_patch16_clip_224": ("timm", "authors"),
    "resnet18": ("torchvision",),
    "mit_b0": ("authors",),
}
QUICK = ("vit_tiny_patch16_224", "vit_xsmall_patch16_clip_224", "mit_b0")
PAIRS = [
    pytest.param(name, format, marks=() if name in QUICK else pytest.mark.slow)
    for name, formats in WRITTEN.items()
    for format in formats
]


def source(name, folder, **changes):
    card = create_model(name, num_classes=4).card
    model = moved(build(replace(card, config={**card.config, **changes})))
    if "clip" in name:
        torch.nn.init.zeros_(model.head["label"].bias)  # as theirs has none
    patchword.save(model, folder / "ours")
    return model


@pytest.mark.parametrize(("name", "format"), PAIRS)
def test_it_comes_back_bit_for_bit(name, format, tmp_path):
    model = source(name, tmp_path)
    done = patchword.convert(tmp_path / "ours", tmp_path / "theirs", format=format)
    assert (done.model, done.format) == (name, format)
    found = patchword.load(tmp_path / "theirs")
    tensors = found.state_dict()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in model.state_dict().items())
    batch = images((224, 224))
    assert torch.equal(found(batch), model(batch))


@pytest.mark.slow
def test_torchvision_reads_what_is_written_for_it(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    model = source("resnet18", tmp_path)
    patchword.convert(tmp_path / "ours", tmp_path / "r.pth", format="torchvision")
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    theirs.load_state_dict(torch.load(tmp_path / "r.pth", weights_only=True))
    batch = images((64, 64))
    torch.testing.assert_close(theirs(batch), model(batch), rtol=1e-4, atol=1e-4)


def test_the_command_adapts_and_says_what_it_did(tmp_path, capsys):
    source("vit_mini_patch4_28", tmp_path)
    words = ("--image-size", "32", "--in-chans", "1", "--num-classes", "3")
    assert main(("convert", str(tmp_path / "ours"), str(tmp_path / "new"), *words)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "kept: 51 tensors"
    assert said[1].startswith("resampled: backbone.stem.position: positions resampled from 7x7")
    assert said[-1].endswith("vit_mini_patch4_28 as patchword, 55 tensors, read back the same")
    assert patchword.load(tmp_path / "new")(images(channels=1)).shape == (2, 3)


def test_what_a_config_cannot_say_is_not_written_in_silence(tmp_path):
    """Twelve narrow heads, as MoCo's small ViT has: timm's config has no place for them."""
    source("vit_tiny_patch16_224", tmp_path, num_heads=12)
    with pytest.raises(WeightsError, match="its config cannot say how this vit_tiny"):
        patchword.convert(tmp_path / "ours", tmp_path / "timm", format="timm")
    alone = tmp_path / "alone.safetensors"
    patchword.convert(tmp_path / "ours", alone, format="timm")
    assert "blocks.0.attn.qkv.weight" in read(alone)


def test_a_format_that_the_family_lacks_is_named(tmp_path):
    source("vit_mini_patch4_28", tmp_path)
    with pytest.raises(ConfigError, match="not written as torchvison; did you mean 'torchvision'"):
        patchword.convert(tmp_path / "ours", tmp_path / "new", format="torchvison")
    assert not (tmp_path / "new").exists()


def test_damage_on_the_way_is_noticed(tmp_path, monkeypatch):
    from patchword import conversion

    source("vit_mini_patch4_28", tmp_path)
    write = conversion.write

    def broken(path, tensors):
        write(path, {name: tensor + 1e-7 for name, tensor in tensors.items()})

    monkeypatch.setattr(conversion, "write", broken)
    with pytest.raises(WeightsError, match="does not hold the tensors that were written"):
        patchword.convert(tmp_path / "ours", tmp_path / "new.safetensors")
