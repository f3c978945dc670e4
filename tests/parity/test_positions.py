"""Positions at any image size: timm's, transformers', big_vision's, and a slow loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchword import models
from patchword.layers import LearnedPosition, RowColumnPosition, SinCosPosition, to_map
from tests.families import vit
from tests.parity.compare import loaded, relative
from tests.parity.peer import CLASSES, perturbed

SIZES = [(96, 96), (48, 48), (32, 80), (112, 64), (64, 64)]  # positions are made for the last
NAMES = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2")


def small(name):
    config = models.config(name)
    side = 4 * config.patch_size
    return replace(config, image_size=(side, side), depth=1)


def batch(size, patch):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, *(side // 16 * patch for side in size), generator=generator)


@pytest.mark.peers
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_positions_at_another_size_are_timm_s(name, size):
    import timm

    config = small(name)
    theirs = timm.create_model(
        name, num_classes=CLASSES, img_size=config.image_size, depth=1, dynamic_img_size=True
    )
    perturbed(theirs, name).eval()
    pixels = batch(size, config.patch_size)
    ours = loaded(name, config, "timm", theirs.state_dict())
    with torch.no_grad():
        assert relative(ours(pixels), theirs(pixels)) <= 2e-6


@pytest.mark.peers
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES[:2])
def test_positions_at_another_size_are_transformers(name, size):
    config = replace(small(name), resample="bicubic")
    peer = vit.transformers_s(config, CLASSES)
    theirs = perturbed(peer.model, name).eval()
    ours = loaded(name, config, peer.format, theirs.state_dict())
    pixels = batch(size, config.patch_size)
    with torch.no_grad():
        wanted = theirs(pixels, interpolate_pos_encoding=True).logits
        assert relative(ours(pixels), wanted) <= 2e-6


@pytest.mark.peers
@pytest.mark.parametrize("new", [(6, 6), (3, 3), (9, 4), (5, 7), (2, 8)], ids=str)
def test_the_table_itself_is_timm_s_bit_for_bit(new):
    from timm.layers import resample_abs_pos_embed

    ours = LearnedPosition((5, 7), 24, prefix=2, mode="bicubic_antialias")
    wanted = resample_abs_pos_embed(ours.table, new, old_size=(5, 7), num_prefix_tokens=2)
    assert torch.equal(ours(new), wanted)


def test_sines_and_cosines_are_big_vision_s():
    rows, columns, width = 5, 3, 32
    y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1)
    slower = 10_000.0 ** -(np.arange(width // 4) / (width // 4 - 1))
    waves = [np.sin(x * slower), np.cos(x * slower), np.sin(y * slower), np.cos(y * slower)]
    found = SinCosPosition(width)((rows, columns))[0].numpy()
    np.testing.assert_allclose(found, np.concatenate(waves, axis=1), atol=5e-7)


@pytest.mark.parametrize("new", [(4, 3), (8, 3), (2, 7)], ids=str)
@pytest.mark.parametrize("mode", ["bicubic_antialias", "bicubic", "linear"])
def test_row_and_column_positions_are_a_slow_loop_s(mode, new):
    position = RowColumnPosition((4, 3), 10, mode=mode)
    parts = []
    for table, count in ((position.rows, new[0]), (position.columns, new[1])):
        line = table.mT[:, :, None]  # one row of cells: resampling along it is all there is
        if mode == "linear":
            line = F.interpolate(line, (1, count), mode="bilinear", align_corners=True)
        else:
            smooth = mode == "bicubic_antialias"
            line = F.interpolate(line, (1, count), mode="bicubic", antialias=smooth)
        parts.append(line[0, :, 0].mT)
    found = to_map(position(new), new)[0]
    for row in range(new[0]):
        for column in range(new[1]):
            wanted = torch.cat([parts[0][row], parts[1][column]])
            torch.testing.assert_close(found[:, row, column], wanted)


@pytest.mark.parametrize("mode", ["bicubic_antialias", "bicubic", "linear"])
def test_a_lone_column_is_resampled_as_a_lone_row_is(mode):
    column = LearnedPosition((4, 1), 6, prefix=1, mode=mode)
    row = LearnedPosition((1, 4), 6, prefix=1, mode=mode)
    row.load_state_dict(column.state_dict())
    torch.testing.assert_close(column((9, 1)), row((1, 9)))
    torch.testing.assert_close(column((3, 1)), row((1, 3)))
