"""A trained model for other images and classes: what can be kept is kept, and all is said."""

from dataclasses import replace

import pytest
import torch

from patchword.adaptation import adapt
from patchword.errors import ConfigError
from patchword.factory import create_model
from patchword.weights.resize import recoloured, resized
from tests.weights.foreign import CLASSES, images, moved

KERNEL = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def model_of(name="vit_mini_patch4_32", classes=CLASSES, **settings):
    model = moved(create_model(name, num_classes=len(CLASSES), **settings))
    model.card = replace(model.card, classes=classes)
    return model


def test_everything_at_once():
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made, said = adapt(
        model, image_size=(48, 64), patch_size=8, in_chans=1, classes=("dog", "fox", "ant")
    )
    assert made.eval()(images((48, 64), 1)).shape == (2, 3)
    card = made.card
    assert (card.config["patch_size"], card.config["in_chans"]) == (8, 1)
    assert card.classes == ("dog", "fox", "ant") and card.preprocessing.image_size == (48, 64)
    weight, old = made.head["label"].weight, model.head["label"].weight
    assert torch.equal(weight[0], old[3]) and torch.equal(weight[2], old[0])
    assert not weight[1].any()
    positions, kernel = said.resampled
    assert "from 8x8 to 6x8" in positions and "root mean square" in positions
    assert kernel.startswith("backbone.stem.patch_embed.proj.weight: kernel from 3x4x4 to 1x8x8; ")
    assert said.new == ("1 of the head's 3 rows; 2 are of classes of equal names",)
    assert said.dropped == ("3 of the head's rows",)
    assert said.kept == len(before) - 4  # the head's two, the kernel, the positions
    assert str(said).splitlines()[0] == f"kept: {said.kept} tensors"
    assert card.provenance["adapted"] == said.lines
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_classes_in_another_order_are_only_sorted():
    model = model_of()
    made, said = adapt(model, classes=CLASSES[::-1])
    batch = images()
    torch.testing.assert_close(made.eval()(batch).flip(1), model(batch))
    assert said.lines == []


def test_names_are_given_to_classes_that_have_none():
    model = model_of(classes=None)
    made, said = adapt(model, classes=CLASSES)
    assert made.card.classes == CLASSES and said.lines == []
    assert torch.equal(made.eval()(images()), model(images()))


def test_a_grey_picture_is_answered_as_in_colours():
    model = model_of()
    made, _ = adapt(model, in_chans=1)
    grey = images(channels=1)
    torch.testing.assert_close(made.eval()(grey), model(grey.expand(-1, 3, -1, -1)))


def test_a_grown_picture_is_answered_as_a_small_one():
    """With patches that grow as much: the pseudo-inverse undoes the growing, exactly."""
    model = model_of()
    made, _ = adapt(model, image_size=64, patch_size=8)
    small = images()
    patches = small.unflatten(3, (8, 4)).unflatten(2, (8, 4)).transpose(3, 4).flatten(1, 3)
    grown = torch.nn.functional.interpolate(patches, (8, 8), mode="bicubic", antialias=True)
    large = grown.unflatten(1, (3, 8, 8)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    torch.testing.assert_close(made.eval()(large), model(small), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet18", {"in_chans": 4, "image_size": 64}),
        ("swin_tiny_patch4_window7_224", {"in_chans": 2, "image_size": 56}),
        ("pvt_v2_b0", {"in_chans": 5}),
        ("deit_tiny_distilled_patch16_224", {"patch_size": 32, "classes": ("bee", "gnu")}),
    ],
)
def test_other_families(name, changes):
    made, said = adapt(model_of(name), **changes)
    size = made.card.preprocessing.image_size
    channels = len(made.card.preprocessing.mean)
    assert made.eval()(images(size, channels)).isfinite().all() and said.resampled


@pytest.mark.peers
@pytest.mark.parametrize("size", [(4, 4), (16, 16), (12, 6)])
def test_patches_are_resized_as_timm_s(size):
    from timm.layers.patch_embed import resample_patch_embed

    wanted = resample_patch_embed(KERNEL, [*size])
    torch.testing.assert_close(resized(KERNEL, size, "pseudoinverse"), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.peers
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 8])
def test_channels_are_made_as_timm_s(channels):
    from timm.models import adapt_input_conv

    torch.testing.assert_close(recoloured(KERNEL, channels), adapt_input_conv(channels, KERNEL))


def test_a_kernel_is_read_as_a_picture_by_name():
    even = torch.ones(1, 1, 4, 4)
    assert torch.equal(resized(even, (8, 8), "bilinear"), torch.ones(1, 1, 8, 8))
    assert resized(even, (8, 8), "pseudoinverse").sum().item() == pytest.approx(16, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": 8}, "resnet18 has no single patch_size"),
        ({"in_chans": 0}, "at least 1"),
        ({"num_classes": 3, "classes": ("a", "b")}, "2 classes are named, and num_classes is 3"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        adapt(model_of("resnet18"), **changes)
