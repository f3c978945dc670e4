"""Corruptions: their published strengths, on pictures of any form, the same wherever asked."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.data.corrupt import CORRUPTIONS, corrupt
from tests.pages.conftest import picture


def photo(rows=64, columns=64, channels=3):
    return torch.from_numpy(picture(rows, columns, channels)).permute(2, 0, 1).contiguous()


def apart(a, b):
    return (a.double() - b.double()).square().mean().sqrt().item()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_kind_spoils_every_form_of_picture_the_same_way_each_time(kind):
    for image in (photo(40, 56), photo(8, 8, 1)):
        found = corrupt(image, kind, 3, seed=0, index=7)
        assert found.shape == image.shape and found.dtype == torch.uint8
        assert torch.equal(found, corrupt(image.clone(), kind, 3, seed=0, index=7))
    image = photo()
    assert apart(corrupt(image, kind, 5, seed=0, index=7), image) > 1


RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow")
RANDOM += ("frost", "fog", "elastic_transform")


@pytest.mark.parametrize("kind", RANDOM)
def test_what_is_random_depends_on_picture_and_seed(kind):
    image = photo()
    found = [corrupt(image, kind, 3, seed=s, index=i) for s, i in ((0, 0), (0, 1), (1, 0))]
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


CHANGING = ("elastic_transform", "snow", "fog", "frost")  # in nature, not in strength alone
GROWING = [kind for kind in CORRUPTIONS if kind not in CHANGING]


@pytest.mark.parametrize("kind", GROWING)
def test_a_severity_spoils_more_than_the_last_but_one(kind):
    image = photo(224, 224)
    far = [apart(corrupt(image, kind, s, seed=0, index=0), image) for s in (1, 3, 5)]
    assert far == sorted(far) and far[0] > 0


def test_noises_have_their_strengths():
    grey = torch.full((3, 96, 96), 128, dtype=torch.uint8)
    for severity, std in enumerate((0.08, 0.12, 0.18), start=1):
        found = corrupt(grey, "gaussian_noise", severity, seed=0, index=0)
        assert found.double().std().item() / 255 == pytest.approx(std, rel=0.03)
    found = corrupt(grey, "shot_noise", 1, seed=0, index=0).double() / 255
    assert found.mean().item() == pytest.approx(128 / 255, rel=0.01)
    assert found.var().item() == pytest.approx(128 / 255 / 60, rel=0.05)
    found = corrupt(grey, "impulse_noise", 5, seed=0, index=0)
    shares = [(found == value).double().mean().item() for value in (0, 255)]
    assert shares == pytest.approx([0.135, 0.135], abs=0.01)


def test_brightness_raises_the_value_of_hsv():
    image = photo(6, 6)
    found = corrupt(image, "brightness", 2, seed=0, index=0)
    for old, new in zip(image.flatten(1).T.tolist(), found.flatten(1).T.tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in old))
        expected = colorsys.hsv_to_rgb(h, s, min(v + 0.2, 1))
        assert new == pytest.approx([255 * value for value in expected], abs=0.51)


def test_contrast_draws_values_to_their_mean():
    image = photo()
    found = corrupt(image, "contrast", 4, seed=0, index=0).double()
    mean = image.double().mean(dim=(1, 2), keepdim=True)
    assert (found - (mean + 0.1 * (image.double() - mean))).abs().max() < 0.51


def test_jpeg_and_pixels_are_pillows():
    image = photo()
    pillow, file = Image.fromarray(image.permute(1, 2, 0).numpy()), io.BytesIO()
    pillow.save(file, "JPEG", quality=10)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(corrupt(image, "jpeg_compression", 4, seed=0, index=0), expected)
    box = Image.Resampling.BOX
    small = pillow.resize((25, 25), box).resize((64, 64), box)
    expected = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    assert torch.equal(corrupt(image, "pixelate", 3, seed=0, index=0), expected)


@pytest.mark.parametrize("kind", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
def test_blurs_leave_an_even_picture_alone(kind):
    even = torch.full((3, 50, 40), 77, dtype=torch.uint8)
    assert torch.equal(corrupt(even, kind, 5, seed=0, index=0), even)


def test_defocus_spreads_a_point_over_a_disk():
    image = torch.zeros(1, 224, 224, dtype=torch.uint8)
    image[0, 112, 112] = 255
    found = corrupt(image, "defocus_blur", 1, seed=0, index=0)[0].int()
    lit = found.nonzero() - 112
    assert len(lit) == 29 and lit.double().norm(dim=1).max() == 3  # cells within 3 of the middle
    assert found.max() == round(255 / 29)
