"""Norms, principal pictures, artifacts, neighbours and maps against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from patchword.errors import ConfigError
from patchword.inspection.embedding import embedded, neighbours, principal_map, tsne_map
from patchword.inspection.tokens import artifacts, principal_picture, token_norms
from patchword.models.hvt import HVTConfig
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import SWIN, VIT, images, perturbed


@pytest.mark.parametrize("config", [VIT, SWIN], ids=["vit", "swin"])
def test_norms_are_of_each_token(config):
    backbone, batch = perturbed(config), images(config)
    level = backbone.levels[0].name
    found = token_norms(backbone, batch, level)
    tap = backbone(batch, taps=(level,)).taps[0]
    expected = np.sqrt((tap.map.detach().numpy() ** 2).sum(1))
    np.testing.assert_allclose(found.cells.numpy(), expected, rtol=1e-5)
    expected = np.sqrt((tap.prefix.detach().numpy() ** 2).sum(2))
    np.testing.assert_allclose(found.prefix.numpy(), expected, rtol=1e-5)


def test_pictures_are_principal_components_of_all_images_scaled_each_by_itself():
    backbone, batch = perturbed(VIT), images(VIT, 3)
    found = principal_picture(backbone, batch, "blocks.1")
    assert found.shape == (3, 3, 2, 3)
    cells = backbone(batch, taps=("blocks.1",)).taps[0].map.detach().numpy()
    flat = cells.transpose(0, 2, 3, 1).reshape(18, 16).astype(np.float64)
    pca = PCA(3).fit(flat)
    signs = np.sign(pca.components_[range(3), np.abs(pca.components_).argmax(1)])
    expected = pca.transform(flat) * signs
    expected = (expected - expected.min(0)) / np.ptp(expected, axis=0)
    ours = found.permute(0, 2, 3, 1).reshape(18, 3)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4)
    few = principal_picture(backbone, batch[:, :, :, :], "blocks.1", count=20)
    assert (few[:, 16:] == 0.5).all()


def test_tokens_far_longer_than_the_median_are_artifacts():
    backbone, batch = perturbed(VIT), images(VIT)
    assert not artifacts(backbone, batch, "blocks.0").cells.any()

    def lengthen(_, inputs, output):
        output = output.clone()
        output[1, 1 + 4] *= 40
        return output

    backbone.blocks[0].register_forward_hook(lengthen)
    found = artifacts(backbone, batch, "blocks.0")
    assert found.cells.nonzero().tolist() == [[1, 1, 1]]
    assert found.share == pytest.approx(1 / 12)
    norms = token_norms(backbone, batch, "blocks.0").cells
    assert found.cutoff == pytest.approx(3 * norms.median().item())


def test_a_line_of_tokens_is_no_picture():
    config = HVTConfig(image_size=(16, 16), patch_size=2, embed_dim=8, depth=2, num_heads=2)
    backbone = made(config)
    with pytest.raises(ConfigError, match="'final' has no grid to draw"):
        token_norms(backbone, contract_images(config))
    with pytest.raises(ConfigError, match="has no level 'blocks'"):
        token_norms(backbone, contract_images(config), "blocks")


@pytest.mark.parametrize("name", TINY)
def test_every_family_has_pictures_of_its_levels(name):
    config = next(iter(TINY[name].values()))
    backbone, batch = made(config), contract_images(config)
    for level in backbone.levels:
        if level.stride is not None:
            found = principal_picture(backbone, batch, level.name)
            assert found.min() >= 0 and found.max() <= 1 and found.isfinite().all()


def test_neighbours_are_the_nearest_by_cosine():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(20, 7, generator=generator)
    found = neighbours(points[:4], points, 3)
    a, b = points[:4].double().numpy(), points.double().numpy()
    cosines = a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    order = np.argsort(-cosines, axis=1)[:, :3]
    assert found.places.tolist() == order.tolist() and found.places[:, 0].tolist() == [0, 1, 2, 3]
    expected = np.take_along_axis(cosines, order, 1)
    np.testing.assert_allclose(found.cosine.numpy(), expected, rtol=1e-5)
    assert neighbours(points[:1], points[:2], 9).places.shape == (1, 2)


def test_the_principal_map_is_scikit_learns_up_to_signs():
    points = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    expected = PCA(2).fit_transform(points.double().numpy())
    np.testing.assert_allclose(principal_map(points).abs().numpy(), np.abs(expected), atol=1e-4)


def test_a_map_of_neighbours_keeps_two_clusters_apart_and_is_repeatable():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(24, 5, generator=generator)
    points[12:] += 20
    found = tsne_map(points, perplexity=5.0)
    assert torch.equal(found, tsne_map(points, perplexity=5.0))
    inside = torch.cdist(found[:12], found[:12]).max()
    assert torch.cdist(found[:12], found[12:]).min() > 0.5 * inside
    with pytest.raises(ConfigError, match="needs more than 24 points"):
        tsne_map(points)


def test_the_embedding_is_what_classifiers_read():
    model, batch = perturbed(VIT, 5), images(VIT)
    assert torch.equal(embedded(model, batch), model.backbone(batch).pooled)
