"""Windows and scales: each pixel from where mmsegmentation takes it, the borders included."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchword.errors import ConfigError
from patchword.evaluation.tiles import (
    Windows,
    bands,
    pick,
    resized,
    several,
    slide,
    sliding,
    whole,
)


def look(images):
    """Give scores that depend on where a pixel is in the picture given, so windows differ."""
    rows, columns = images.shape[-2:]
    ramp = torch.arange(rows)[:, None] * 0.1 + torch.arange(columns) * 0.01
    return torch.cat((images[:, :1] + ramp, images[:, 1:2] * ramp), dim=1)


def mmsegmentation(images, size, stride):
    """Add up padded windows on a whole canvas, as `slide_inference` does."""
    rows, columns = images.shape[-2:]
    total, counts = torch.zeros_like(look(images)), torch.zeros(1, 1, rows, columns)
    for i in range(max(rows - size[0] + stride[0] - 1, 0) // stride[0] + 1):
        for j in range(max(columns - size[1] + stride[1] - 1, 0) // stride[1] + 1):
            bottom, right = (
                min(i * stride[0] + size[0], rows),
                min(j * stride[1] + size[1], columns),
            )
            top, left = max(bottom - size[0], 0), max(right - size[1], 0)
            scores = look(images[:, :, top:bottom, left:right])
            total += F.pad(scores, (left, columns - right, top, rows - bottom))
            counts[:, :, top:bottom, left:right] += 1
    return total / counts


SIZES = [
    ((20, 31), (8, 8), (5, 5)),
    ((20, 31), (8, 9), (8, 9)),
    ((8, 8), (8, 8), (3, 3)),
    ((9, 7), (8, 8), (3, 3)),
    ((5, 6), (8, 8), (6, 6)),
    ((24, 16), (8, 8), (4, 8)),
]


@pytest.mark.parametrize(("shape", "size", "stride"), SIZES)
def test_windows_are_mmsegmentation_s(shape, size, stride):
    images = torch.rand(2, 3, *shape, dtype=torch.float64)
    found = slide(look, images, Windows(size=size, stride=stride))
    torch.testing.assert_close(found, mmsegmentation(images, size, stride), rtol=0, atol=1e-12)


def test_every_pixel_is_in_a_window_and_no_window_passes_the_border():
    for rows in range(1, 30):
        seen = np.zeros((rows, 11), int)
        for down, across in Windows(size=(7, 4), stride=(3, 4)).places(rows, 11):
            assert 0 <= down.start < down.stop <= rows and 0 <= across.start < across.stop <= 11
            seen[down, across] += 1
        assert seen.min() >= 1


def test_scores_that_windows_do_not_change_are_those_of_the_whole():
    images = torch.rand(1, 3, 21, 34, dtype=torch.float64)
    same = slide(lambda x: x[:, :2] ** 2, images, Windows(size=(9, 9), stride=(4, 7)))
    torch.testing.assert_close(same, whole(lambda x: x[:, :2] ** 2, images), rtol=0, atol=1e-12)


def test_coarse_scores_come_back_at_the_picture_s_size():
    images = torch.rand(1, 3, 16, 24)
    coarse = whole(lambda x: F.avg_pool2d(x, 4), images)
    assert coarse.shape == images.shape
    assert slide(
        lambda x: F.avg_pool2d(x, 4), images, Windows(size=(8, 8), stride=(8, 8))
    ).shape == (images.shape)


def test_no_more_than_a_window_is_looked_at_once():
    sizes = []

    def watched(images):
        sizes.append(tuple(images.shape[-2:]))
        return images

    slide(watched, torch.rand(1, 3, 50, 70), Windows(size=(16, 16), stride=(11, 11)))
    assert set(sizes) == {(16, 16)} and len(sizes) == 5 * 6


def test_several_scales_average_probabilities_and_mirror_back():
    images, size = torch.rand(2, 3, 12, 17, dtype=torch.float64), (25, 30)
    wanted = []
    for scale in (0.5, 1.0, 1.75):
        seen = F.interpolate(
            images, (int(12 * scale + 0.5), int(17 * scale + 0.5)), mode="bilinear"
        )
        for flip in (False, True):
            scores = look(seen.flip(-1)) if flip else look(seen)
            shares = F.interpolate(scores, size, mode="bilinear").softmax(1)
            wanted.append(shares.flip(-1) if flip else shares)
    found = several(look, images, (0.5, 1.0, 1.75), size=size)
    torch.testing.assert_close(found, torch.stack(wanted).mean(0), rtol=0, atol=1e-12)
    assert found.sum(1).sub(1).abs().max() < 1e-12
    alone = several(look, images, (1.0,), size=(12, 17), flip=False)
    torch.testing.assert_close(alone, look(images).softmax(1))


def test_the_class_is_picked_at_the_label_s_own_size():
    scores = torch.tensor([[[[0.0, 1.0]], [[0.6, 0.6]]]])
    assert pick(scores, (1, 4)).tolist() == [[[1, 1, 0, 0]]]
    assert resized(scores, (1, 2)) is scores


def test_settings_that_leave_gaps_are_refused():
    with pytest.raises(ConfigError, match="leave gaps"):
        Windows(size=(8, 8), stride=(9, 8))
    with pytest.raises(ConfigError, match="above 0"):
        several(look, torch.rand(1, 3, 4, 4), (), size=(4, 4))


def test_rows_are_let_go_once_no_window_sees_them():
    """What a later window sees is not among them, and no more is held than a window's rows."""
    images, windows = torch.rand(1, 3, 50, 33), Windows(size=(16, 16), stride=(5, 7))
    order = []

    def watched(part):
        order.append("look")
        return look(part)

    tops = []
    for rows, scores in sliding(watched, images, windows):
        tops.append((rows.start, rows.stop))
        order.append("let go")
        assert scores.shape == (1, 2, rows.stop - rows.start, 33)
    assert [start for start, _ in tops[1:]] == [stop for _, stop in tops[:-1]]
    assert (tops[0][0], tops[-1][1]) == (0, 50) and max(b - a for a, b in tops) <= 16
    assert order[:5] == ["look"] * 4 + ["let go"]


@pytest.mark.parametrize("size", [(7, 9), (20, 31), (41, 13), (100, 120)])
@pytest.mark.parametrize("values", [1, 500, 1 << 24])
def test_bands_are_the_whole_resized(size, values):
    scores = torch.rand(2, 3, 20, 31, dtype=torch.float64)
    found = list(bands(scores, size, values=values))
    assert (len(found) > 1) == (values < 2 * 3 * size[0] * size[1])
    assert sum(rows.stop - rows.start for rows, _ in found) == size[0]
    joined = torch.cat([part for _, part in found], dim=2)
    torch.testing.assert_close(joined, resized(scores, size), rtol=0, atol=1e-12)
    assert torch.equal(pick(scores, size), resized(scores, size).argmax(dim=1))
