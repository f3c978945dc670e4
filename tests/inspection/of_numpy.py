"""Measures of maps and features beside numpy, written out; each yields ours, and what it is."""

import numpy as np
import torch

from patchword.inspection.attention import attention_maps, each_map
from patchword.inspection.distance import attention_distance
from patchword.inspection.entropy import attention_entropy
from patchword.inspection.rollout import rollout
from patchword.inspection.similarity import cka, grams, minibatch_cka, unbiased_hsic
from patchword.models.pvt import PVTConfig
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import SWIN, VIT, images, perturbed

PVT = PVTConfig(
    image_size=(16, 16), patch_size=(2, 2), embed_dim=(8, 8), depth=(1, 1), num_heads=(1, 2),
    mlp_ratio=(2.0, 2.0), sr_ratio=(2, 1),
)  # fmt: skip


def dense(backbone, batch):
    """Return each map in float64, and which token of the first axis is which."""
    return {name: m.double().numpy() for name, m in attention_maps(backbone, batch).items()}


def distance(config):
    """The mean over pairs of cells, weighed by attention, one by one."""
    backbone, batch = perturbed(config), images(config)
    found = attention_distance(backbone, batch)
    layouts = each_map(backbone, batch, lambda seen: seen.layout)
    for name, maps in dense(backbone, batch).items():
        (rows, columns), prefix = layouts[name].grid, layouts[name].prefix
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
        yield found[name], expected


def entropy(config):
    backbone, batch = perturbed(config), images(config)
    found = attention_entropy(backbone, batch)
    for name, maps in dense(backbone, batch).items():
        logs = np.log(np.where(maps > 0, maps, 1))
        yield found[name].nats, -(maps * logs).sum(-1).mean((0, 2))
        assert (found[name].nats <= found[name].most + 1e-5).all()


def rollout_of_all(config):
    """The product of all maps, halves of which are the identity."""
    backbone, batch = perturbed(config), images(config)
    product = None
    for maps in dense(backbone, batch).values():
        mixed = 0.5 * maps.mean(1) + 0.5 * np.eye(maps.shape[-1])
        product = mixed if product is None else mixed @ product
    cells = backbone.config.registers + len(config.prefix)
    rows = product[:, :1] if config.prefix else product[:, cells:]
    yield rollout(backbone, batch), rows.mean(1)[:, cells:].reshape(2, 2, 3)


def rollout_of_windows():
    """The same through shifted windows, and cells that are merged: means of four."""
    backbone, batch = perturbed(SWIN), images(SWIN)
    maps = list(dense(backbone, batch).values())
    mixed = [0.5 * m.mean(1) + 0.5 * np.eye(m.shape[-1]) for m in maps]
    merge = np.zeros((4 * 8, 8 * 16))
    for fine in range(8 * 16):
        merge[fine // 16 // 2 * 8 + fine % 16 // 2, fine] = 0.25
    product = mixed[3] @ mixed[2] @ merge @ mixed[1] @ mixed[0]
    yield rollout(backbone, batch), product.mean(1).reshape(2, 8, 16)


def rollout_of_merged_keys():
    """The same where keys are fewer than queries: a coarse one is spread over its cells."""
    backbone, batch = perturbed(PVT), images(PVT)
    first, second = dense(backbone, batch).values()
    assert first.shape == (2, 1, 64, 16) and second.shape == (2, 2, 17, 17)
    spread = np.zeros((16, 64))
    for fine in range(64):
        spread[fine // 8 // 2 * 4 + fine % 8 // 2, fine] = 0.25
    late = (0.5 * second.mean(1) + 0.5 * np.eye(17))[:, 0, 1:] @ spread  # the class token's row
    early = 0.5 * np.eye(64) + 0.5 * first.mean(1) @ spread
    expected = np.einsum("bi,bij->bj", late, early).reshape(2, 8, 8)
    yield rollout(backbone, batch), expected


def features(backbone, batch):
    """Return each level's tokens of each image, end to end, in float64."""
    names = [level.name for level in backbone.levels]
    taps = backbone(batch, taps=names).taps
    both = [torch.cat([t.prefix.flatten(1), t.map.flatten(1)], 1) for t in taps]
    return [x.detach().double().numpy() for x in both]


def slow_cka(x, y):
    """Kornblith et al. 2019, equation of section 3.2, on features."""
    x, y = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.norm(y.T @ x) ** 2
    return cross / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def slow_unbiased(k, l):  # noqa: E741
    """Song et al. 2012, equation 5, term by term."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    found = np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (found - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


def cka_of_layers():
    backbone, batch = perturbed(VIT), images(VIT, 6)
    seen = features(backbone, batch)
    expected = np.array([[slow_cka(x, y) for y in seen] for x in seen])
    yield cka(grams(backbone, batch), grams(backbone, batch)), expected


def cka_of_models():
    """Of two families, images of two sizes."""
    config = next(iter(TINY["resnet"].values()))
    vit, convnet = perturbed(VIT), made(config)
    one, other = images(VIT, 5), contract_images(config, 5)
    found = cka(grams(vit, one, ["blocks.0", "final"]), grams(convnet, other, ["stages.0"]))
    x, y = features(vit, one), features(convnet, other)
    yield found, np.array([[slow_cka(x[0], y[0])], [slow_cka(x[-1], y[0])]])


def unbiased():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(12, 200, dtype=torch.float64, generator=generator) for _ in range(2))
    grams_ = [x @ x.T, y @ y.T]
    for one in grams_:
        for other in grams_:
            expected = slow_unbiased(one.numpy(), other.numpy())
            yield unbiased_hsic(one[None], other[None])[0, 0], np.array(expected)


def cka_of_minibatches():
    """The means of unbiased estimates, before they are divided."""
    backbone, batches = perturbed(VIT), images(VIT, 12).split(4)
    seen = [[f @ f.T for f in features(backbone, batch)] for batch in batches]
    count = len(seen[0])
    total = np.array(
        [[sum(slow_unbiased(b[i], b[j]) for b in seen) for j in range(count)] for i in range(count)]
    )
    expected = total / np.sqrt(np.outer(np.diag(total), np.diag(total)))
    yield minibatch_cka(backbone, backbone, batches), expected
