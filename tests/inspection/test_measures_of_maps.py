"""Distance, entropy and rollout against numpy, written out; what watching leaves behind."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from patchword.errors import ConfigError
from patchword.inspection.attention import attention_maps, class_attention, each_map, looked_at
from patchword.inspection.attribution import gradcam, relevance
from patchword.inspection.distance import attention_distance
from patchword.inspection.embedding import embedded
from patchword.inspection.entropy import attention_entropy
from patchword.inspection.rollout import covering, rollout
from patchword.models.pvt import PVTConfig
from patchword.models.resnet import ResNetConfig
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import MEAN, SWIN, VIT, images, perturbed


def dense(backbone, batch):
    """Return each map in float64, and which token of the first axis is which."""
    return {name: m.double().numpy() for name, m in attention_maps(backbone, batch).items()}


@pytest.mark.parametrize("config", [VIT, MEAN, SWIN], ids=["class token", "mean", "windows"])
def test_distance_is_the_weighed_mean_over_pairs_of_cells(config):
    backbone, batch = perturbed(config), images(config)
    found = attention_distance(backbone, batch)
    for name, maps in dense(backbone, batch).items():
        shape = each_map(backbone, batch, lambda seen: seen.layout)[name]
        (rows, columns), prefix = shape.grid, shape.prefix
        high, wide = (s / n for s, n in zip(config.image_size, (rows, columns), strict=True))
        expected = np.zeros(maps.shape[1])
        for head in range(maps.shape[1]):
            means = []
            for image in range(len(maps)):
                for query in range(rows * columns):
                    total = weight = 0.0
                    for key in range(rows * columns):
                        down = (query // columns - key // columns) * high
                        across = (query % columns - key % columns) * wide
                        share = maps[image, head, prefix + query, prefix + key]
                        total += share * np.hypot(down, across)
                        weight += share
                    means.append(total / weight)
            expected[head] = np.mean(means)
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-4)


def test_a_head_that_looks_at_its_own_cell_looks_nowhere():
    backbone, batch = perturbed(replace(MEAN, depth=1)), images(MEAN)
    with torch.no_grad():
        backbone.blocks[0].attn.qkv.weight.mul_(0)
        backbone.blocks[0].attn.qkv.bias.mul_(0)
    (even,) = attention_distance(backbone, batch).values()
    places = np.array([(4 * r + 2, 4 * c + 2) for r in range(2) for c in range(3)])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    np.testing.assert_allclose(even.numpy(), np.full(4, apart.mean()), rtol=1e-5)
    (spread,) = attention_entropy(backbone, batch).values()
    np.testing.assert_allclose(spread.nats.numpy(), np.full(4, np.log(6)), rtol=1e-5)
    assert spread.most == pytest.approx(np.log(6))


@pytest.mark.parametrize("config", [VIT, SWIN], ids=["class token", "windows"])
def test_entropy_is_that_of_rows(config):
    backbone, batch = perturbed(config), images(config)
    found = attention_entropy(backbone, batch)
    for name, maps in dense(backbone, batch).items():
        logs = np.log(np.where(maps > 0, maps, 1))
        expected = -(maps * logs).sum(-1).mean((0, 2))
        np.testing.assert_allclose(found[name].nats.numpy(), expected, rtol=1e-4)
        assert (found[name].nats <= found[name].most + 1e-5).all()


@pytest.mark.parametrize("config", [VIT, MEAN, replace(VIT, registers=2)], ids=["c", "m", "r"])
def test_rollout_is_the_product_of_all_maps(config):
    backbone, batch = perturbed(config), images(config)
    product = None
    for maps in dense(backbone, batch).values():
        mixed = 0.5 * maps.mean(1) + 0.5 * np.eye(maps.shape[-1])
        product = mixed if product is None else mixed @ product
    cells = backbone.config.registers + len(config.prefix)
    rows = product[:, :1] if config.prefix else product[:, cells:]
    expected = rows.mean(1)[:, cells:].reshape(2, 2, 3)
    found = rollout(backbone, batch)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
    if not config.prefix:
        np.testing.assert_allclose(found.sum((1, 2)).numpy(), 1, rtol=1e-5)


def test_rollout_goes_through_shifted_windows_and_merged_cells():
    backbone, batch = perturbed(SWIN), images(SWIN)
    maps = list(dense(backbone, batch).values())
    mixed = [0.5 * m.mean(1) + 0.5 * np.eye(m.shape[-1]) for m in maps]
    merge = np.zeros((4 * 8, 8 * 16))  # each coarse cell is the mean of four fine ones
    for fine in range(8 * 16):
        merge[fine // 16 // 2 * 8 + fine % 16 // 2, fine] = 0.25
    product = mixed[3] @ mixed[2] @ merge @ mixed[1] @ mixed[0]
    expected = product.mean(1).reshape(2, 8, 16)
    np.testing.assert_allclose(rollout(backbone, batch).numpy(), expected, rtol=1e-4)


def test_rollout_goes_through_merged_keys():
    config = PVTConfig(
        image_size=(16, 16), patch_size=(2, 2), embed_dim=(8, 8), depth=(1, 1), num_heads=(1, 2),
        mlp_ratio=(2.0, 2.0), sr_ratio=(2, 1),
    )  # fmt: skip
    backbone, batch = perturbed(config), images(config)
    first, second = dense(backbone, batch).values()
    assert first.shape == (2, 1, 64, 16) and second.shape == (2, 2, 17, 17)
    spread = np.zeros((16, 64))
    for fine in range(64):
        spread[fine // 8 // 2 * 4 + fine % 8 // 2, fine] = 0.25
    late = (0.5 * second.mean(1) + 0.5 * np.eye(17))[:, 0, 1:] @ spread  # the class token's row
    early = 0.5 * np.eye(64) + 0.5 * first.mean(1) @ spread
    expected = np.einsum("bi,bij->bj", late, early).reshape(2, 8, 8)
    np.testing.assert_allclose(rollout(backbone, batch).numpy(), expected, rtol=1e-4)


def test_axes_that_do_not_divide_share_cells_by_length():
    found = covering(2, 3).numpy()
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    np.testing.assert_allclose(covering(5, 3).numpy().sum(1), 1)


@pytest.mark.parametrize("name", TINY)
def test_every_family_gives_finite_measures_or_says_that_nothing_attends(name):
    config = next(iter(TINY[name].values()))
    backbone, batch = made(config), contract_images(config)
    distances, looks = attention_distance(backbone, batch), looked_at(backbone, batch)
    entropies, rolled = attention_entropy(backbone, batch), rollout(backbone, batch)
    assert (looks is None) == (rolled is None) and (not distances) == (not entropies)
    if backbone.level("final").stride is not None:
        assert (looks is None) == (not distances)
    for seen in distances.values():
        assert (seen >= 0).all() and (seen <= np.hypot(*config.image_size)).all()
    for kind in entropies.values():
        assert (kind.nats >= -1e-5).all() and (kind.nats <= kind.most + 1e-4).all()
    if looks is not None:
        torch.testing.assert_close(looks.sum((2, 3)), torch.ones(looks.shape[:2]))
        assert rolled.ndim == 3 and rolled.min() >= 0 and rolled.sum((1, 2)).max() < 1 + 1e-4


def test_class_attention_is_the_class_tokens_row_in_each_layer():
    backbone, batch = perturbed(VIT), images(VIT)
    maps, found = attention_maps(backbone, batch), class_attention(backbone, batch)
    assert maps.keys() == found.keys() and len(found) == 3
    for name, cells in found.items():
        assert torch.equal(cells.flatten(2), maps[name][:, :, 0, 1:])
    assert class_attention(perturbed(MEAN), batch) == {}


def test_nothing_is_kept_and_every_mode_comes_back():
    backbone, batch = perturbed(VIT).train(), images(VIT)
    backbone.blocks[1].eval()
    modes = [module.training for module in backbone.modules()]
    before = backbone.eval()(batch).pooled
    for module, mode in zip(backbone.modules(), modes, strict=True):
        module.training = mode
    alive = []

    def reduce(seen):
        assert sum(one() is not None for one in alive) == 0  # the layer before is gone
        alive.append(weakref.ref(seen.weights))
        return seen.weights.mean().item()

    assert len(each_map(backbone, batch, reduce)) == 3
    gc.collect()
    assert not any(one() is not None for one in alive)
    assert [module.training for module in backbone.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in backbone.modules())
    assert torch.equal(backbone.eval()(batch).pooled, before)


@pytest.mark.parametrize("measure", [rollout, attention_distance, relevance, gradcam, embedded])
def test_memory_is_free_at_once(measure):
    model, batch = perturbed(SWIN, 3), images(SWIN)

    def alive():
        return sum(type(found) is torch.Tensor for found in gc.get_objects())

    measure(model, batch)  # what is made once, and kept, is there
    gc.collect()
    before = alive()
    gc.disable()
    try:
        measure(model, batch)
        assert alive() == before
    finally:
        gc.enable()


def test_what_cannot_be_looked_into_is_refused():
    with pytest.raises(ConfigError, match="Linear cannot be looked into"):
        rollout(torch.nn.Linear(2, 2), torch.zeros(1, 3, 8, 8))
    convnet = perturbed(ResNetConfig(image_size=(32, 32)), std=0.0)
    assert rollout(convnet, torch.zeros(1, 3, 32, 32)) is None
