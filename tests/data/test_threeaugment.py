"""3-Augment beside timm's policy and Pillow's filters, and the simple crop beside torchvision's."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from patchword.data.augment import Augment, PlainCrop, augmented, crop, draw_crops
from patchword.data.draw import Address
from patchword.data.frame import Frame
from patchword.data.randaugment import RandAugment
from patchword.data.threeaugment import blurred, greyed, three_augment
from patchword.errors import ConfigError
from tests.data.pictures import smooth

FRAME = Frame(image_size=(24, 20), crop=1.0)
THREE = Augment(crop_scale=None, hflip=0.0, three_augment=True)


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def address(count, seed=0):
    return Address(seed, 0, np.arange(count), np.zeros(count, np.int64))


def kinds(images, original):
    """Name what was done to each picture."""
    found = []
    for image in images:
        if torch.equal(image, torch.where(original < 128, original, 255 - original)):
            found.append("solarised")
        elif torch.equal(image[0], image[1]) and torch.equal(image[1], image[2]):
            found.append("grey")
        else:
            found.append("blurred")
    return found


@pytest.mark.peers
def test_the_three_are_as_likely_as_timm_s():
    from timm.data.auto_augment import auto_augment_transform

    original, count = tensor(smooth(24, 20)), 900
    ours = kinds(three_augment(original.repeat(count, 1, 1, 1), address(count)), original)
    random.seed(0)
    np.random.seed(0)
    policy = auto_augment_transform("3a", {})
    picture = Image.fromarray(smooth(24, 20))
    theirs = kinds([tensor(policy(picture)) for _ in range(count)], original)
    for kind in ("grey", "solarised", "blurred"):
        shares = [found.count(kind) / count for found in (ours, theirs)]
        assert all(abs(share - 1 / 3) < 0.06 for share in shares), (kind, shares)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_the_blur_is_nearly_pillow_s(sigma):
    picture = Image.fromarray(smooth(60, 80))
    ours = blurred(tensor(picture), sigma)
    theirs = tensor(picture.filter(ImageFilter.GaussianBlur(sigma)))
    apart = (ours.int() - theirs.int()).abs().float()
    assert apart.mean() < 1 and apart.max() <= 6


def test_grey_is_pillow_s_and_needs_colours():
    picture = Image.fromarray(smooth(60, 80))
    grey = tensor(picture.convert("L").convert("RGB"))
    assert (greyed(tensor(picture)).int() - grey.int()).abs().max() <= 1
    for channels in (1, 4):
        image = torch.randint(0, 256, (channels, 5, 5), dtype=torch.uint8)
        assert torch.equal(greyed(image), image)


def test_a_view_is_a_function_of_its_address_and_colours_are_jittered_after_it():
    images = tensor(smooth(24, 20)).repeat(12, 1, 1, 1)
    settings = replace(THREE, color_jitter=0.3)
    whole = augmented(images.clone(), settings, FRAME, address(12))
    rows = np.array([7, 2])
    part = Address(0, 0, rows, np.zeros(2, np.int64))
    assert torch.equal(augmented(images[:2].clone(), settings, FRAME, part), whole[rows])
    assert not torch.equal(augmented(images.clone(), THREE, FRAME, address(12)), whole)
    assert not torch.equal(augmented(images.clone(), settings, FRAME, address(12, 1)), whole)


@pytest.mark.parametrize("size", [(60, 80), (90, 33), (24, 20), (5, 7)])
@pytest.mark.parametrize("squeeze", [False, True])
def test_the_plain_crop_is_a_part_of_torchvision_s_padded_picture(size, squeeze):
    from torchvision.transforms.v2 import functional as vision

    side, how = 16, PlainCrop(resize=1.25 if squeeze else 1.0, squeeze=squeeze, pad=3)
    into = Frame(image_size=(side, side), crop=1.0)
    settings = Augment(crop_scale=None, plain_crop=how, interpolation="bilinear")
    image = tensor(smooth(*size))
    wanted = [20, 20] if squeeze else [side]
    whole = vision.resize(image, wanted, vision.InterpolationMode.BILINEAR, antialias=True)
    whole = vision.pad(whole, [3, 3, 3, 3], padding_mode="reflect")
    places = set()
    for drawn in draw_crops(address(40)):
        found = crop(image, settings, into, drawn)
        assert found.shape == (3, side, side)
        windows = whole.unfold(1, side, 1).unfold(2, side, 1)
        same = (windows == found[:, None, None]).all(dim=(-1, -2)).all(dim=0).nonzero()
        assert len(same) >= 1
        places.add(tuple(same[0].tolist()))
    assert len(places) > 5
    rows = {row for row, _ in places}
    assert min(rows) <= 2 and max(rows) >= whole.shape[1] - side - 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"plain_crop": PlainCrop()}, "in the place of crop_scale"),
        ({"three_augment": True, "rand_augment": RandAugment()}, "one of them"),
    ],
)
def test_what_excludes_each_other(settings, words):
    with pytest.raises(ConfigError, match=words):
        Augment(**settings)
    with pytest.raises(ConfigError, match="at least 1"):
        PlainCrop(resize=0.5)
