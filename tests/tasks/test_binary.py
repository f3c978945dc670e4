"""The binary loss of classes is torch's, over targets that are there or not."""

import pytest
import torch
import torch.nn.functional as F

from patchword.errors import ConfigError
from patchword.recipes.recipe import Recipe
from patchword.tasks.binary import Binary
from patchword.tasks.classify import Labelled
from patchword.tasks.distill import HARD
from patchword.training.objectives import fitting
from tests.engine.small import classify, pictures


def test_both_of_the_classes_that_were_mixed_are_wholly_there():
    task = Binary(classify().model.double())
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    targets = torch.tensor([[0.3, 0.7, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0.5]]).double()
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0]).double()
    batch = Labelled(images, targets, weights)
    scores = task.model(images)
    there = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1]]).double()
    wanted = F.binary_cross_entropy_with_logits(scores[[0, 1, 3]], there[[0, 1, 3]])
    torch.testing.assert_close(task(batch, task.count(batch)).total, wanted)


def test_it_learns_eight_pictures():
    torch.manual_seed(0)
    task = Binary(classify().model)
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    batch = Labelled(images, F.one_hot(labels, 3).float(), torch.ones(8))
    optimizer = torch.optim.Adam(task.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch, task.count(batch)).total.backward()
        optimizer.step()
    assert torch.equal(task.model(images).argmax(dim=1), labels)


@pytest.mark.parametrize(
    "wrong", [{"smoothing": 0.1}, {"class_weights": "balanced"}, {"distillation": HARD}], ids=str
)
def test_what_has_no_meaning_for_it_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"leave {next(iter(wrong))} out"):
        Recipe(name="x", class_loss="binary", **wrong)


def test_it_is_of_classes():
    source = pictures()
    source.kind = "shares"
    with pytest.raises(ConfigError, match="the data has shares"):
        fitting(source, Recipe(name="x", class_loss="binary"))
