"""The frame: sizes, centres, and pictures that are right already."""

import numpy as np
import pytest
import torch

from patchword.data.frame import Frame, frame
from tests.data.pictures import smooth


def picture(rows, columns):
    return torch.from_numpy(smooth(rows, columns)).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (31, 31), (7, 200)])
@pytest.mark.parametrize("image_size", [(16, 16), (16, 24), (24, 16)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.5])
def test_every_picture_becomes_the_right_size(size, image_size, crop):
    framed = frame(picture(*size), Frame(image_size=image_size, crop=crop))
    assert framed.shape == (3, *image_size)
    assert framed.dtype == torch.uint8


def test_a_picture_that_is_right_is_left_alone():
    image = picture(28, 20)
    assert frame(image, Frame(image_size=(28, 20), crop=1.0)) is image


def test_the_centre_is_kept():
    image = torch.zeros(1, 40, 80, dtype=torch.uint8)
    image[:, :, 20:60] = 255
    assert frame(image, Frame(image_size=(20, 20), crop=1.0)).float().mean() > 250
    image = torch.zeros(1, 40, 40, dtype=torch.uint8)
    image[:, 10:30, 10:30] = 255
    half = frame(image, Frame(image_size=(20, 20), crop=0.5))
    assert torch.equal(half, torch.full((1, 20, 20), 255, dtype=torch.uint8))


def test_shrinking_averages():
    checks = torch.from_numpy(np.indices((64, 64)).sum(axis=0) % 2 * 255).byte()[None]
    small = frame(checks, Frame(image_size=(8, 8), crop=1.0)).float()
    assert (small - 127.5).abs().max() < 3
