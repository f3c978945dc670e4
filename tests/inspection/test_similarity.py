"""CKA against numpy, written out, and against what is known of it."""

import numpy as np
import pytest
import torch

from patchword.errors import DataError
from patchword.inspection.similarity import (
    aligned,
    cka,
    grams,
    hsic,
    minibatch_cka,
    unbiased_hsic,
)
from tests.contract.tiny import TINY, made
from tests.contract.tiny import images as contract_images
from tests.inspection.tiny import VIT, images, perturbed


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


def test_between_layers_it_is_that_of_features():
    backbone, batch = perturbed(VIT), images(VIT, 6)
    found = cka(grams(backbone, batch), grams(backbone, batch))
    seen = features(backbone, batch)
    expected = [[slow_cka(x, y) for y in seen] for x in seen]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)
    torch.testing.assert_close(found.diagonal(), torch.ones(len(seen)).double())
    assert found.min() >= 0 and found.min() < 0.999


def test_between_models_of_other_widths():
    config = next(iter(TINY["resnet"].values()))
    vit, convnet = perturbed(VIT), made(config)
    one, other = images(VIT, 5), contract_images(config, 5)
    found = cka(grams(vit, one, ["blocks.0", "final"]), grams(convnet, other, ["stages.0"]))
    x, y = features(vit, one), features(convnet, other)
    expected = [[slow_cka(x[0], y[0])], [slow_cka(x[-1], y[0])]]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)


def test_rotation_and_scale_change_nothing():
    x = torch.randn(9, 5, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    one, other = (x @ x.T)[None], (3 * x @ turn @ (3 * x @ turn).T)[None]
    for criterion in (hsic, unbiased_hsic):
        torch.testing.assert_close(cka(one, other, criterion), torch.ones(1, 1).double())


def test_the_unbiased_form_is_songs_and_near_0_for_unrelated_features():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 200, dtype=torch.float64, generator=generator)
    y = torch.randn(12, 200, dtype=torch.float64, generator=generator)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = slow_unbiased(k.numpy(), l.numpy())
    np.testing.assert_allclose(unbiased_hsic(k[None], l[None]).item(), expected, rtol=1e-9)
    assert cka(k[None], l[None]).item() > 0.8  # of few images with many features
    assert abs(cka(k[None], l[None], unbiased_hsic).item()) < 0.3


def test_minibatches_are_the_mean_of_unbiased_estimates():
    backbone, batches = perturbed(VIT), images(VIT, 12).split(4)
    found = minibatch_cka(backbone, backbone, batches)
    seen = [[f @ f.T for f in features(backbone, batch)] for batch in batches]
    count = len(seen[0])
    total = np.array(
        [[sum(slow_unbiased(b[i], b[j]) for b in seen) for j in range(count)] for i in range(count)]
    )
    expected = total / np.sqrt(np.outer(np.diag(total), np.diag(total)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    again = minibatch_cka(backbone, perturbed(VIT), batches)
    torch.testing.assert_close(found, again)


def test_too_few_images_are_refused():
    few = torch.ones(1, 3, 3)
    with pytest.raises(DataError, match="3 images are too few"):
        cka(few, few, unbiased_hsic)
    with pytest.raises(DataError, match="there are no images"):
        aligned([], hsic)
