"""Losses for labels of which some are wrong, against their formulas in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchword.data import Frame
from patchword.errors import ConfigError
from patchword.predictor import Card
from patchword.recipes.recipe import Recipe
from patchword.tasks.bootstrapping import Bootstrapping
from patchword.tasks.classify import Labelled
from patchword.tasks.symmetric import Symmetric
from patchword.training.objectives import objective
from tests.engine.small import classify

DRAW = torch.Generator().manual_seed(0)
SCORES = 3 * torch.randn(5, 4, generator=DRAW, dtype=torch.float64)
TARGETS = torch.rand(5, 4, generator=DRAW, dtype=torch.float64).softmax(dim=1)
TARGETS[0] = torch.eye(4, dtype=torch.float64)[2]
CARD = Card(model="x", config={}, num_classes=3, preprocessing=Frame(image_size=(8, 8)))
KINDS = {"symmetric": Symmetric, "bootstrapping": Bootstrapping}


def probabilities():
    scores = SCORES.numpy()
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def test_symmetric_cross_entropy():
    """As the authors' loss has it, which sums over classes: alpha 0.1, beta 1, A = log 1e-4."""
    p, t = probabilities(), TARGETS.numpy()
    forward = -(t * np.log(np.clip(p, 1e-7, 1))).sum(axis=1)
    backward = -(p * np.log(np.clip(t, 1e-4, 1))).sum(axis=1)
    found = Symmetric(classify().model).cost(SCORES, TARGETS)
    np.testing.assert_allclose(found, 0.1 * forward + 1.0 * backward, rtol=1e-12)


def test_soft_bootstrapping_and_its_gradient():
    p, t = probabilities(), TARGETS.numpy()
    wanted = -((0.95 * t + 0.05 * p) * np.log(p)).sum(axis=1)
    scores = SCORES.clone().requires_grad_()
    found = Bootstrapping(classify().model).cost(scores, TARGETS)
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
    through_both = 0.95 * (p - t) - 0.05 * p * (np.log(p) + entropy)
    np.testing.assert_allclose(gradient, through_both, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_names_it_and_it_learns_eight_pictures(name):
    torch.manual_seed(0)
    made = classify()
    task = objective(made.model, CARD, Recipe(name="x", class_loss=name))
    assert type(task) is KINDS[name]
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    batch = Labelled(images, F.one_hot(labels, 3).float(), torch.ones(8))
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch, task.count(batch)).total.backward()
        optimizer.step()
    assert torch.equal(task.model(images).argmax(dim=1), labels)
    with pytest.raises(ConfigError, match="leave class_weights out"):
        Recipe(name="x", class_loss=name, class_weights="balanced")
