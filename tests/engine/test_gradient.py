"""One step's gradient: the same in slices, and the same when it is asked for twice."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from patchword.engine.loop import gradient, step
from patchword.engine.state import State
from patchword.layers.depth import dropping
from patchword.tasks.classify import Labelled
from tests.engine.small import ALL_AT_ONCE, PLAIN, Regress, classify, feed, fresh, plan

DEEP = replace(PLAIN, batch_size=12, drop_path_rate=0.5)


def batch(size=12, weights=None):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(size, 1, 8, 8, dtype=torch.float64, generator=draw)
    targets = torch.rand(size, 3, dtype=torch.float64, generator=draw)
    ones = torch.ones(size, dtype=torch.float64)
    return Labelled(
        images, targets / targets.sum(1, keepdim=True), ones if weights is None else weights
    )


def sliced(whole, slices):
    return [Labelled(*part) for part in zip(*(t.chunk(slices) for t in whole), strict=True)]


def gradients(state, batches, recipe, **settings):
    loss = gradient(state, batches, plan(recipe, **settings))
    return loss, torch.cat([p.grad.flatten() for p in state.task.parameters()])


@pytest.mark.parametrize("slices", [2, 3, 4, 12])
@pytest.mark.parametrize("weights", ["all", "uneven"])
def test_slices_have_the_gradient_of_the_whole_batch(slices, weights):
    """The first pictures are unreadable, so that some slices hold fewer than others, or none."""
    recipe = replace(DEEP, optim=replace(DEEP.optim, clip=0.1))
    state = fresh(recipe)
    state.task.double().train()
    whole = batch(weights=(torch.arange(12) >= 5).double() if weights == "uneven" else None)
    loss, expected = gradients(state, [whole], recipe)
    same_loss, found = gradients(state, sliced(whole, slices), recipe)
    assert expected.norm() == pytest.approx(0.1)  # clipped once, for the whole step
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(same_loss, loss)


def test_a_slice_weighs_by_what_the_task_counts():
    """Mean over four known targets, three of them in the first slice."""
    task = Regress()
    inputs, targets = torch.randn(6, 2), torch.randn(6, 1)
    targets[3], targets[5] = torch.nan, torch.nan
    state = State(task, torch.optim.SGD(task.parameters()))
    halves = list(zip(inputs.chunk(2), targets.chunk(2), strict=True))
    loss = gradient(state, halves, plan(replace(PLAIN, batch_size=6)))
    known = targets.isfinite()
    torch.testing.assert_close(loss, (task.line(inputs) - targets)[known].square().mean())


def masks(slices, seed=0, number=0):
    """Return what each part kept in one step: layers by pictures."""
    state = fresh(DEEP)
    state.task.double().train()
    state.step = number
    seen = {part: [] for part in dropping(state.task)}
    for part, rows in seen.items():
        part.register_forward_hook(lambda part, i, o, rows=rows: rows.append(part.kept))
    gradient(state, sliced(batch(), slices), plan(DEEP, seed=seed))
    assert all(part.kept is None for part in seen)  # nothing is left behind
    return torch.stack([torch.cat(rows) for rows in seen.values()])


def test_slices_take_their_parts_of_one_mask():
    whole = masks(1)
    assert whole.shape == (2, 12)  # the first block never drops; the second has two branches
    assert not torch.equal(whole[0], whole[1])
    for slices in (2, 3, 12):
        assert torch.equal(masks(slices), whole)


def test_masks_belong_to_a_seed_and_a_step_and_keep_their_share():
    assert not torch.equal(masks(1), masks(1, seed=1))
    assert not torch.equal(masks(1), masks(1, number=1))
    kept = torch.stack([masks(1, number=n) for n in range(100)]).double().mean()
    assert kept.item() == pytest.approx(0.5, abs=0.05)  # 2,400 throws: four deviations


class Twice(Optimizer):
    """Ask for the gradient twice per step, as SAM does."""

    def __init__(self, parameters):
        super().__init__(parameters, {"peak": 1.0})
        self.losses = []

    def step(self, closure):
        with torch.enable_grad():
            self.losses.append([closure(), closure()])
        return self.losses[-1][1]


class Noise(Regress):
    """A regression that looks at what dropout does to some ones."""

    def __init__(self):
        super().__init__()
        self.drop, self.seen_masks = nn.Dropout(0.5), []

    def forward(self, batch, count):
        self.seen_masks.append(self.drop(torch.ones(64)))
        return super().forward(batch, count)


def test_every_micro_batch_of_every_step_draws_its_own_dropout():
    state = State(task := Noise(), Twice(task.parameters()))
    point = (torch.ones(1, 2), torch.ones(1, 1))
    for _ in range(2):
        step(state, [point, point], plan())
    first, second, *again = task.seen_masks[:4]
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat(again), torch.cat([first, second]))  # asked for twice
    assert not any(torch.equal(first, mask) for mask in task.seen_masks[4:])


def test_an_optimizer_that_asks_twice_gets_the_same_masks_and_dropout_twice():
    recipe = replace(ALL_AT_ONCE, drop_rate=0.5, drop_path_rate=0.5)
    task = classify(recipe)
    state = State(task, Twice(task.parameters()))
    batches = next(feed(recipe)(0))
    for _ in range(3):
        step(state, batches, plan(recipe))
    losses = [[loss.item() for loss in pair] for pair in state.optimizer.losses]
    assert all(first == second for first, second in losses)
    assert len({first for first, _ in losses}) == 3  # weights and pictures stay: draws do not
