"""Augmentation: an identity to the bit, the right distributions, one address one result."""

import dataclasses

import numpy as np
import pytest
import torch

from patchword.data.augment import Augment, _maps, augmented, crop, crop_box, draw_crops
from patchword.data.draw import Address, Stream
from patchword.data.erase import AREA, ASPECT, erase, erase_box
from patchword.data.frame import Frame
from patchword.data.randaugment import RandAugment
from patchword.data.warp import shift, warp
from patchword.errors import ConfigError
from tests.data.pictures import smooth

FRAME = Frame(image_size=(24, 20), crop=1.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
PLAIN = Augment(crop_scale=None, hflip=0.0)
EVERYTHING = Augment(
    crop_scale=None,
    translate=0.1,
    rotate=15.0,
    zoom=0.1,
    shear=5.0,
    rand_augment=RandAugment(),
    erase=0.5,
)


def batch(count=16, channels=3):
    images = np.stack([smooth(24, 20, seed) for seed in range(count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2)[:, :channels].contiguous()


def address(count=16, seed=0, epoch=0):
    return Address(seed, epoch, np.arange(count), np.zeros(count, np.int64))


def test_nothing_asked_nothing_done():
    assert torch.equal(augmented(batch(), PLAIN, FRAME, address()), batch())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(28, 28), (31, 17), (224, 224)])
def test_the_identity_is_bit_identical(interpolation, size):
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    maps = np.tile(np.eye(2, 3), (2, 1, 1))
    fill = torch.full((3,), 77, dtype=torch.uint8)
    assert torch.equal(warp(images, maps, fill=fill, interpolation=interpolation), images)
    assert torch.equal(shift(images, np.zeros((2, 2), np.int64)), images)


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(crop_scale=None, color_jitter=0.4)])
def test_a_view_is_a_function_of_its_address(augment):
    whole = augmented(batch(), augment, FRAME, address())
    rows = np.array([11, 3, 7])
    part = Address(0, 0, rows, np.zeros(3, np.int64))
    assert torch.equal(augmented(batch()[rows], augment, FRAME, part), whole[rows])
    assert torch.equal(augmented(batch(), augment, FRAME, address()), whole)
    for other in (address(seed=1), address(epoch=1), address()._replace(views=np.ones(16, int))):
        assert not torch.equal(augmented(batch(), augment, FRAME, other), whole)


def test_the_steps_do_not_disturb_each_other():
    flips = augmented(batch(), dataclasses.replace(PLAIN, hflip=0.5), FRAME, address())
    erased = dataclasses.replace(PLAIN, hflip=0.5, erase=1.0)
    same = augmented(batch(), erased, FRAME, address()) == flips
    assert same.float().mean() > 0.5  # all but the rectangles


def test_flips():
    flipped = augmented(batch(400), dataclasses.replace(PLAIN, hflip=0.3), FRAME, address(400))
    kept = (flipped == batch(400)).flatten(1).all(1)
    turned = (flipped == batch(400).flip(-1)).flatten(1).all(1)
    assert (kept | turned).all()
    assert 0.22 < turned.float().mean() < 0.38


def test_translation_is_by_whole_pixels_each_equally_likely():
    images = torch.zeros(4000, 1, 9, 12, dtype=torch.uint8)
    images[:, :, 4, 6] = 255
    moved = augmented(images, dataclasses.replace(PLAIN, translate=0.25), FRAME, address(4000))
    assert set(moved.unique().tolist()) == {0, 255}
    _, _, rows, columns = torch.nonzero(moved, as_tuple=True)
    assert len(rows) == 4000
    assert (torch.bincount(rows)[2:] / 4000 - 1 / 5).abs().max() < 0.03  # 2.25: two pixels
    assert (torch.bincount(columns)[3:] / 4000 - 1 / 7).abs().max() < 0.03
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 3, 9)


def test_affine_maps_agree_with_torchvision():
    from torchvision.transforms.v2 import functional as F

    drawn = 2 * address(8).uniforms(Stream.AFFINE, 5) - 1
    settings = dataclasses.replace(PLAIN, rotate=20.0, zoom=0.2, translate=0.1)
    images = batch(8)
    black = torch.zeros(3, dtype=torch.uint8)
    maps = _maps(images, settings, address(8))
    ours = warp(images, maps, fill=black, interpolation="bilinear").float()
    for image, our, (down, across, turn, _, zoom) in zip(images, ours, drawn, strict=True):
        # torchvision says where a point goes, about the centre; ours says where it comes from.
        radians = np.deg2rad(20 * turn)
        back = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
        scale = 1 + 0.2 * zoom
        move = -scale * back @ (across * 0.1 * 20, down * 0.1 * 24)
        theirs = F.affine(
            image,
            angle=float(-20 * turn),
            translate=move.tolist(),
            scale=float(scale),
            shear=[0.0],
            interpolation=F.InterpolationMode.BILINEAR,
        ).float()
        inner = (slice(None), slice(6, -6), slice(6, -6))
        assert (our[inner] - theirs[inner]).abs().mean() < 1.5


def test_zoom_and_rotation_keep_the_centre_and_stay_in_range():
    images = torch.zeros(500, 1, 21, 21, dtype=torch.uint8)
    images[:, :, 10, 10] = 255
    settings = dataclasses.replace(PLAIN, rotate=30.0, zoom=0.2, shear=10.0)
    warped = augmented(images, settings, FRAME, address(500))
    assert (warped[:, 0, 10, 10] > 120).all()


def test_crops_have_the_distribution_of_the_settings():
    settings = Augment(crop_scale=(0.08, 1.0))
    rows, columns = 500, 500
    boxes = np.array([crop_box(rows, columns, settings, d) for d in draw_crops(address(5000))])
    area = boxes[:, 2] * boxes[:, 3] / (rows * columns)
    ratio = boxes[:, 3] / boxes[:, 2]
    assert area.min() > 0.079 and area.max() <= 1
    assert 0.45 < area.mean() < 0.5  # large ones that do not fit are drawn again
    assert ratio.min() > 0.74 and ratio.max() < 1.35
    assert abs(np.log(ratio).mean()) < 0.01
    assert (boxes[:, 0] + boxes[:, 2] <= rows).all() and (
        boxes[:, 1] + boxes[:, 3] <= columns
    ).all()
    free = boxes[:, 2] < 400
    assert abs((boxes[free, 0] / (rows - boxes[free, 2])).mean() - 0.5) < 0.02


def test_crops_of_extreme_pictures_fall_back_to_the_centre():
    settings = Augment(crop_scale=(0.9, 1.0))
    for rows, columns in ((4, 4000), (4000, 4), (1, 1)):
        for drawn in draw_crops(address(20)):
            top, left, height, width = crop_box(rows, columns, settings, drawn)
            assert height > 0 and width > 0
            assert abs(2 * top + height - rows) <= 1 and abs(2 * left + width - columns) <= 1
    image = torch.from_numpy(smooth(2, 300)).permute(2, 0, 1)
    assert crop(image, settings, FRAME, draw_crops(address(1))[0]).shape == (3, 24, 20)


def test_erasing_has_the_distribution_and_the_noise_of_the_data_set():
    count = 600
    images = torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    frame = dataclasses.replace(FRAME, image_size=(64, 64), std=(0.1, 0.12, 0.15))
    erased = erase(images, 0.25, frame, address(count))
    touched = erased.bool().flatten(1).any(1)
    assert 0.2 < touched.float().mean() < 0.3
    noise = erased[touched].movedim(1, 0).flatten(1)
    noise = noise[:, noise.bool().any(0)].float() / 255
    mean = torch.tensor(frame.mean)
    assert (noise.mean(1) - mean).abs().max() < 0.01
    assert (noise.std(1) - torch.tensor(frame.std)).abs().max() < 0.01


def test_erased_boxes():
    drawn = address(4000).uniforms(Stream.ERASE, 23)[:, 1:]
    boxes = np.array([erase_box(200, 200, row) for row in drawn])
    area, aspect = boxes[:, 2] * boxes[:, 3] / 40_000, boxes[:, 2] / boxes[:, 3]
    assert AREA[0] * 0.9 < area.min() and area.max() < AREA[1] * 1.05
    assert ASPECT[0] * 0.85 < aspect.min() and aspect.max() < ASPECT[1] * 1.15
    assert abs(area.mean() - sum(AREA) / 2) < 0.01
    assert abs(np.log(aspect).mean()) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [dict(hflip=50.0), dict(erase=-0.1), dict(crop_scale=(0.5, 0.2)), dict(crop_ratio=(2.0, 1.0))],
)
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Augment(**wrong)
