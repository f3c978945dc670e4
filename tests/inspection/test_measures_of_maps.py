"""Distance, entropy and rollout of known maps, of every family; what watching leaves behind.

checks.py holds them against numpy.
"""

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
from patchword.models.resnet import ResNetConfig
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import MEAN, SWIN, VIT, images, perturbed


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
    only = name == "xcit"  # whose patches mix channels: its class token alone attends
    assert (looks is None) == (rolled is None)
    assert (not distances) == (not entropies or only)
    if backbone.level("final").stride is not None:
        assert (looks is None) == (not distances and not only)
    for seen in distances.values():
        assert (seen >= 0).all() and (seen <= np.hypot(*config.image_size)).all()
    for kind in entropies.values():
        assert (kind.nats >= -1e-5).all() and (kind.nats <= kind.most + 1e-4).all()
    if looks is not None:
        torch.testing.assert_close(looks.sum((2, 3)), torch.ones(looks.shape[:2]))
        assert rolled.ndim == 3 and rolled.min() >= 0 and rolled.sum((1, 2)).max() < 1 + 1e-4


def test_of_an_answer_read_from_all_cells_nothing_is_lost():
    found = rollout(perturbed(MEAN), images(MEAN))
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2), rtol=1e-5, atol=0)


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
