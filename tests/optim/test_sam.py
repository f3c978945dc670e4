"""SAM, against the two steps of its paper written out, around every optimizer."""

import pytest
import torch

from patchword.engine.optimizers import Optim, optimizer
from tests.engine.small import classify, feed

RHO = 0.1


@pytest.fixture(scope="module")
def batch():
    """Return pictures in double precision: Adam makes steps of what rounding leaves of nothing."""
    found = next(iter(feed()(0)))[0]
    return type(found)(*(tensor.double() for tensor in found))


def gradient(task, batch):
    task.zero_grad()
    loss = task(batch, task.count(batch)).total
    loss.backward()
    return loss.detach()


def written_out(task, batch):
    """Leave the gradient at w + rho g / |g| in the parameters, which stay at w."""
    loss = gradient(task, batch)
    parameters = list(task.parameters())
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    moves = [RHO * p.grad / norm for p in parameters]
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.add_(move)
    gradient(task, batch)
    with torch.no_grad():
        for p, move in zip(parameters, moves, strict=True):
            p.sub_(move)
    return loss


@pytest.mark.parametrize(
    "name", ["sgd", "adam", "adamw", "muon", "schedule_free_sgd", "schedule_free_adamw"]
)
def test_the_gradient_is_taken_uphill_and_the_step_from_where_the_weights_are(name, batch):
    ours, theirs = classify().double(), classify().double()
    made = [
        optimizer(Optim(name=name, lr=0.05, sharpness=rho), task, task.model.backbone.spine(), 8)
        for rho, task in ((RHO, ours), (0.0, theirs))
    ]
    for _ in range(3):
        losses = (
            made[0].step(lambda: gradient(ours, batch)),
            made[1].step(lambda: written_out(theirs, batch)),
        )
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    plain = classify().double()
    once = optimizer(Optim(name=name, lr=0.05), plain, plain.model.backbone.spine(), 8)
    for _ in range(3):
        once.step(lambda: gradient(plain, batch))
    assert not torch.allclose(plain.model.head["label"].weight, ours.model.head["label"].weight)


def test_its_groups_are_the_others_so_the_schedule_reaches_it(batch):
    task = classify().double()
    made = optimizer(Optim(name="muon", sharpness=RHO), task, task.model.backbone.spine(), 8)
    for group in made.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in task.parameters()]
    made.step(lambda: gradient(task, batch))
    assert all(torch.equal(a, b) for a, b in zip(before, task.parameters(), strict=True))
