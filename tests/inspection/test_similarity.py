"""CKA against what is known of it; checks.py holds it against numpy."""

import pytest
import torch

from patchword.errors import DataError
from patchword.inspection.similarity import aligned, cka, grams, hsic, minibatch_cka, unbiased_hsic
from tests.inspection.tiny import VIT, images, perturbed


def test_rotation_and_scale_change_nothing():
    x = torch.randn(9, 5, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    one, other = (x @ x.T)[None], (3 * x @ turn @ (3 * x @ turn).T)[None]
    for criterion in (hsic, unbiased_hsic):
        torch.testing.assert_close(cka(one, other, criterion), torch.ones(1, 1).double())


def test_the_unbiased_form_is_near_0_for_unrelated_features():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 200, dtype=torch.float64, generator=generator)
    y = torch.randn(12, 200, dtype=torch.float64, generator=generator)
    one, other = (x @ x.T)[None], (y @ y.T)[None]
    assert cka(one, other).item() > 0.8  # of few images with many features
    assert abs(cka(one, other, unbiased_hsic).item()) < 0.3


def test_between_a_model_and_its_like_it_is_that_between_layers():
    backbone, batches = perturbed(VIT), images(VIT, 12).split(4)
    found = minibatch_cka(backbone, backbone, batches)
    torch.testing.assert_close(minibatch_cka(backbone, perturbed(VIT), batches), found)
    seen = cka(grams(backbone, batches[0]), grams(backbone, batches[0]))
    torch.testing.assert_close(seen.diagonal(), torch.ones(len(seen)).double())
    assert seen.min() >= 0 and seen.min() < 0.999


def test_too_few_images_are_refused():
    few = torch.ones(1, 3, 3)
    with pytest.raises(DataError, match="3 images are too few"):
        cka(few, few, unbiased_hsic)
    with pytest.raises(DataError, match="there are no images"):
        aligned([], hsic)
