"""What an encoder promises of its levels is what comes out of it."""

import pytest
import torch

from patchword import models
from patchword.errors import ConfigError, ShapeError
from patchword.layers import to_map
from patchword.models.vit import ViTConfig
from tests.contract.tiny import TINY, images


def names(backbone):
    return [level.name for level in backbone.levels]


def prefixed(config):
    return len(config.prefix) + config.registers


def test_every_family_is_here():
    assert TINY.keys() == {*models.index().values()}


def test_levels_are_as_promised(config, backbone):
    assert names(backbone) == [*(f"blocks.{i}" for i in range(config.depth)), "final"]
    batch = images(config)
    features = backbone(batch, taps=names(backbone))
    assert features.pooled.shape == (2, backbone.width)
    assert backbone.width % len(backbone.readouts) == 0
    for level, tap in zip(backbone.levels, features.taps, strict=True):
        sides = zip(config.image_size, level.stride, strict=True)
        grid = tuple(-(-side // step) for side, step in sides)
        assert tap.map.shape == (2, level.channels, *grid)
        assert tap.prefix.shape == (2, prefixed(config), level.channels)
        assert backbone.level(level.name) == level


def test_the_pyramid_is_of_four_blocks_the_last_among_them(config, backbone):
    assert backbone.pyramid() == ("blocks.0", "blocks.1", "blocks.2", "blocks.4")
    assert {*backbone.pyramid()} <= {*names(backbone)}


def test_final_is_the_last_block_after_the_norm(config, backbone):
    last, final = backbone(images(config), taps=(names(backbone)[-2], "final")).taps
    cells = backbone.norm(last.map.flatten(2).mT)
    torch.testing.assert_close(to_map(cells, tuple(last.map.shape[2:])), final.map)
    torch.testing.assert_close(backbone.norm(last.prefix), final.prefix)


def test_taps_come_in_any_order_and_more_than_once(config, backbone):
    batch = images(config)
    straight = dict(zip(names(backbone), backbone(batch, taps=names(backbone)).taps, strict=True))
    asked = ["final", "blocks.3", "blocks.0", "blocks.3"]
    found = backbone(batch, taps=asked).taps
    assert all(torch.equal(t.map, straight[n].map) for n, t in zip(asked, found, strict=True))
    assert all(torch.equal(t.prefix, straight[n].prefix) for n, t in zip(asked, found, strict=True))
    assert backbone(batch).taps == ()


def test_an_unknown_level_is_refused_with_a_suggestion(config, backbone):
    with pytest.raises(ConfigError, match=r"no level 'block\.3'; did you mean 'blocks\.3'"):
        backbone(images(config), taps=("final", "block.3"))
    with pytest.raises(ConfigError, match=r"no level 'fin'; did you mean 'final'"):
        backbone.level("fin")


def test_pooled_is_the_same_whatever_is_tapped(config, backbone):
    """Where nothing is tapped, the last block is computed for the tokens that are read alone."""
    batch, parameters = images(config), [*backbone.parameters()]
    weight = torch.randn(2, backbone.width, generator=torch.Generator().manual_seed(3))
    runs = []
    for taps in ((), ("final",), ("blocks.1",)):
        pooled = backbone(batch, taps=taps).pooled
        runs.append((pooled, *torch.autograd.grad((pooled * weight).sum(), parameters)))
    for found, *wanted in zip(*runs, strict=True):
        largest = found.abs().max().item()
        for other in wanted:
            torch.testing.assert_close(found, other, rtol=0, atol=1e-6 * (largest + 1))


def test_every_parameter_gets_a_gradient(config, backbone):
    backbone(images(config)).pooled.square().sum().backward()
    missing = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_an_image_does_not_see_another(config, backbone):
    batch = images(config, 3).requires_grad_()
    features = backbone(batch, taps=("final",))
    (features.pooled[1].sum() + features.taps[0].map[1].square().sum()).backward()
    assert batch.grad[1].any() and not batch.grad[[0, 2]].any()
    with torch.no_grad():
        alone = backbone(batch[1:2]).pooled
    torch.testing.assert_close(features.pooled[1:2], alone, rtol=1e-5, atol=1e-5)


def test_other_image_sizes_work(config, backbone):
    p = config.patch_size
    for rows, columns in ((2 * p, 7 * p), (6 * p, 3 * p)):
        batch = images(config, size=(rows, columns))
        features = backbone(batch, taps=("blocks.0", "final"))
        assert torch.isfinite(features.pooled).all()
        assert all(tap.map.shape[2:] == (rows // p, columns // p) for tap in features.taps)


def test_a_size_or_channels_that_do_not_fit_are_refused(config, backbone):
    p = config.patch_size
    if type(config) is ViTConfig:  # ViT_C's convolutions pad what is left over
        with pytest.raises(ShapeError, match=f"resize or pad it to {3 * p}x{4 * p}$"):
            backbone(images(config, size=(3 * p - 1, 3 * p + 1)))
    with pytest.raises(ShapeError, match=f"this model reads {config.in_chans}"):
        backbone(torch.zeros(1, config.in_chans + 1, *config.image_size))
