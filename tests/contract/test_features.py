"""What an encoder promises of its levels is what comes out of it."""

import math
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from patchword import models
from patchword.errors import ConfigError, ShapeError
from patchword.layers import to_map
from tests.contract.tiny import CONFIGS, FIXED, TINY, coarsest, images, made


def names(backbone):
    return [level.name for level in backbone.levels]


def check_sides(level, tap, size):
    """Hold a map's sides to its level's stride; what is left over may be a cell or none.

    A side has one cell less where patches that overlap are cut without padding, as PiT's are.
    """
    if level.stride is None:
        assert tap.map.ndim == 3
        return
    for cells, side, step in zip(tap.map.shape[2:], size, level.stride, strict=True):
        assert side // step - 1 <= cells <= math.ceil(side / step)


def test_every_family_is_here():
    assert TINY.keys() == {*models.index().values()} and all(TINY.values())


def test_levels_are_as_promised(config, backbone):
    assert len({*names(backbone)}) == len(backbone.levels) and names(backbone)[-1] == "final"
    batch = images(config)
    features = backbone(batch, taps=names(backbone))
    assert features.pooled.shape == (2, backbone.width)
    assert backbone.width % len(backbone.readouts) == 0
    for level, tap in zip(backbone.levels, features.taps, strict=True):
        assert tap.map.shape[:2] == (2, level.channels)
        assert tap.prefix.shape == (2, level.prefix, level.channels)
        check_sides(level, tap, config.image_size)
        assert backbone.level(level.name) == level


def test_the_pyramid_is_of_up_to_four_levels_the_deepest_among_them(config, backbone):
    found, known = backbone.pyramid(), names(backbone)
    assert 1 <= len(found) <= 4 and found[-1] == known[-2]
    places = [known.index(name) for name in found]
    assert places == sorted(places)


def test_final_is_the_last_level_after_the_norm(config, backbone):
    last, final = backbone(images(config), taps=(names(backbone)[-2], "final")).taps
    if not isinstance(backbone.norm, nn.LayerNorm):  # over a map's channels
        torch.testing.assert_close(backbone.norm(last.map), final.map)
        return
    cells = backbone.norm(last.map.flatten(2).mT)
    torch.testing.assert_close(to_map(cells, tuple(last.map.shape[2:])), final.map)
    torch.testing.assert_close(backbone.norm(last.prefix), final.prefix)


def test_taps_come_in_any_order_and_more_than_once(config, backbone):
    batch, known = images(config), names(backbone)
    straight = dict(zip(known, backbone(batch, taps=known).taps, strict=True))
    asked = ["final", known[-2], known[0], known[-2]]
    found = backbone(batch, taps=asked).taps
    assert all(torch.equal(t.map, straight[n].map) for n, t in zip(asked, found, strict=True))
    assert all(torch.equal(t.prefix, straight[n].prefix) for n, t in zip(asked, found, strict=True))
    assert backbone(batch).taps == ()


def test_an_unknown_level_is_refused_with_a_suggestion(config, backbone):
    with pytest.raises(ConfigError, match=r"no level 'fin'; did you mean 'final'"):
        backbone(images(config), taps=("final", "fin"))
    with pytest.raises(ConfigError, match=r"no level 'fin'; did you mean 'final'"):
        backbone.level("fin")


def test_pooled_is_the_same_whatever_is_tapped(config, backbone):
    """Where nothing is tapped, the last block may be computed for the tokens read alone."""
    batch, parameters = images(config).double(), [*backbone.double().parameters()]
    weight = torch.randn(2, backbone.width, generator=torch.Generator().manual_seed(3))
    runs = []
    for taps in ((), ("final",), (names(backbone)[0],)):
        pooled = backbone(batch, taps=taps).pooled
        loss = (pooled * weight).sum()
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        zeros = map(torch.zeros_like, parameters)
        known = (z if s is None else s for s, z in zip(slopes, zeros, strict=True))
        runs.append((pooled, *known))
    for found, *wanted in zip(*runs, strict=True):
        largest = found.abs().max().item()
        for other in wanted:
            torch.testing.assert_close(found, other, rtol=0, atol=1e-13 * (largest + 1))


def test_every_parameter_gets_a_gradient_but_those_that_are_declared(config, backbone):
    backbone(images(config)).pooled.square().sum().backward()
    missing = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == [n for n, _ in backbone.named_parameters() if declared(backbone, n)]


def declared(backbone, name):
    return any(fnmatchcase(name, pattern) for pattern in backbone.silent)


def test_an_image_does_not_see_another(config, backbone):
    batch = images(config, 3).requires_grad_()
    features = backbone(batch, taps=("final",))
    (features.pooled[1].sum() + features.taps[0].map[1].square().sum()).backward()
    assert batch.grad[1].any() and not batch.grad[[0, 2]].any()
    with torch.no_grad():
        alone = backbone(batch[1:2]).pooled
    torch.testing.assert_close(features.pooled[1:2], alone, rtol=1e-5, atol=1e-5)


def test_other_image_sizes_work(config, backbone, request):
    """They do on the same network, or, where a family is fixed to one, on one made for them."""
    rows, columns = coarsest(backbone)
    sizes = [(2 * rows, 3 * columns), (3 * rows, 2 * columns)]
    if request.node.callspec.params["config"] in FIXED:
        sizes = [size for size in sizes if size != config.image_size]
        for size in sizes:
            with pytest.raises(ShapeError, match="x".join(map(str, config.image_size))):
                backbone(images(config, size=size))
    for size in sizes:
        fixed = request.node.callspec.params["config"] in FIXED
        network = made(replace(config, image_size=size)) if fixed else backbone
        features = network(images(config, size=size), taps=names(network))
        assert torch.isfinite(features.pooled).all()
        for level, tap in zip(network.levels, features.taps, strict=True):
            check_sides(level, tap, size)


def test_a_size_that_no_stride_divides_is_padded_or_refused(config, backbone):
    rows, columns = coarsest(backbone)
    size = (3 * rows - 1, 3 * columns + 1)
    try:
        features = backbone(images(config, size=size), taps=names(backbone))
    except ShapeError as error:
        assert "x".join(map(str, size)) in str(error) and "\n" not in str(error)
        fixed = "this model reads" in str(error)
        assert fixed or any(side % backbone.multiple for side in size)
    else:
        assert torch.isfinite(features.pooled).all()
        for level, tap in zip(backbone.levels, features.taps, strict=True):
            check_sides(level, tap, size)


def test_sides_that_are_of_the_right_multiple_are_read(config, backbone, request):
    """By whoever pads images; a network of one size reads no other."""
    if request.node.callspec.params["config"] in FIXED:
        return
    step = backbone.multiple
    floor = -(-3 * max(coarsest(backbone)) // step)
    for size in ((step * (floor + 1), step * (floor + 2)), (step * (2 * floor + 1), step * floor)):
        features = backbone(images(config, size=size), taps=names(backbone))
        assert torch.isfinite(features.pooled).all()


def test_channels_that_do_not_fit_are_refused(config, backbone):
    with pytest.raises(ShapeError, match=f"this model reads {config.in_chans}"):
        backbone(torch.zeros(1, config.in_chans + 1, *config.image_size))


def test_the_tiny_networks_differ():
    assert len({repr(config) for config in CONFIGS.values()}) == len(CONFIGS)
