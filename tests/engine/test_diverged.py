"""A training that is no longer made of numbers stops, and what it saved is."""

from dataclasses import replace

import pytest
import torch

from patchword.engine.loop import fit
from patchword.engine.optimizers import Optim
from patchword.engine.run import Run
from patchword.errors import Diverged
from tests.engine.small import ALL_AT_ONCE, PLAIN, feed, fresh, opened, plan

STEPS, BROKEN = 12, 5  # the sixth step is where it happens


def break_input(state, batches):
    """Put a NaN into a picture."""
    for number, slices in enumerate(batches):
        if number == BROKEN:
            slices[-1].images[0, 0, 0, 0] = torch.nan
        yield slices


def break_weight(state, batches):
    """Put an infinity into a weight as the step ends, so that its loss is still a number."""

    def after_step(progress):
        if state.step == BROKEN + 1:
            with torch.no_grad():
                state.task.model.backbone.norm.weight[0] = torch.inf

    state.task.after_step = after_step
    return batches


def break_gradient(state, batches):
    """Send a NaN back from a step whose loss is a number."""
    bias = state.task.model.backbone.norm.bias
    bias.register_hook(lambda g: g * torch.nan if state.step == BROKEN else g)
    return batches


@pytest.mark.parametrize("fault", [break_input, break_weight, break_gradient])
@pytest.mark.parametrize("often", [1, 4, 100], ids=lambda often: f"log every {often}")
@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_the_newest_checkpoint_is_from_before(tmp_path, fault, often, name):
    recipe = replace(ALL_AT_ONCE, optim=Optim(name=name))
    state = fresh(recipe)
    with pytest.raises(Diverged, match=r"step 6\b") as caught:
        fit(
            state,
            lambda start: fault(state, feed(recipe)(start)),
            plan(recipe, STEPS, log=often, save_seconds=0.0),
            opened(tmp_path),
        )
    assert "--lr" in str(caught.value) and "\n" not in str(caught.value)
    found = Run(tmp_path).restore()
    assert found is not None
    tensors, notes = found
    assert notes["step"] == BROKEN
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("fault", [break_weight, break_gradient])
def test_the_last_step_is_looked_at_too(tmp_path, fault):
    """Its loss is a number, and no further one would show what became of the weights."""
    state = fresh()
    with pytest.raises(Diverged, match=r"step 6\b"):
        fit(
            state,
            lambda start: fault(state, feed()(start)),
            plan(PLAIN, BROKEN + 1),
            opened(tmp_path),
            evaluate=lambda: {"score": 1.0},
        )
    assert Run(tmp_path).restore() is None
    assert not Run(tmp_path).best_file.exists()
