"""A training that was stopped goes on as if it had not been, bit for bit."""

from dataclasses import replace

import pytest
import torch

from patchword.data.augment import Augment
from patchword.data.randaugment import RandAugment
from patchword.engine.loop import fit
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import Stopped, WeightsError
from patchword.weights.files import read_with_notes
from tests.engine.small import (
    ALL_AT_ONCE,
    PLAIN,
    Regress,
    differing,
    feed,
    fitted,
    fresh,
    opened,
    plan,
    without_clock,
)

STEPS = 8
RECIPES = {
    "sgd": PLAIN,
    "adam": replace(PLAIN, optim=Optim(name="adam", clip=1.0)),
    "adamw": replace(ALL_AT_ONCE, optim=Optim(name="adamw", layer_decay=0.8)),
    "muon": replace(ALL_AT_ONCE, optim=Optim(name="muon", momentum=0.95)),
    "SAM": replace(ALL_AT_ONCE, optim=Optim(name="muon", momentum=0.9, sharpness=0.05)),
    "schedule-free AdamW": replace(ALL_AT_ONCE, optim=Optim(name="schedule_free_adamw", lr=0.01)),
    "schedule-free SGD": replace(PLAIN, optim=Optim(name="schedule_free_sgd", lr=0.5)),
    "RandAugment": replace(PLAIN, augment=Augment(rand_augment=RandAugment(), erase=0.3)),
    "three slices": replace(ALL_AT_ONCE, batch_size=12, accumulate=3),
}


def run(folder, recipe, *, stop_at=None, **settings):
    """Train, with a score that depends on the weights, perhaps to a step only."""
    state = fresh(recipe)
    weight = state.task.model.head["label"].weight
    fit(
        state,
        feed(recipe),
        plan(recipe, STEPS, log=3, evaluate=2, **settings),
        opened(folder),
        evaluate=lambda: {"score": weight.sin().sum().item()},
        stop=lambda: state.step == stop_at,
    )
    return state


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_a_stopped_training_goes_on_where_it_was(tmp_path, recipe, stop_at):
    whole = run(tmp_path / "whole", recipe)
    with pytest.raises(Stopped, match=f"step {stop_at} of {STEPS}"):
        run(tmp_path / "halves", recipe, stop_at=stop_at)
    halves = run(tmp_path / "halves", recipe)
    assert differing(whole.tensors(), halves.tensors()) == []
    assert whole.notes() == halves.notes()
    assert without_clock(tmp_path / "whole") == without_clock(tmp_path / "halves")
    best = [read_with_notes(Run(tmp_path / name).best_file) for name in ("whole", "halves")]
    assert differing(best[0][0], best[1][0]) == [] and best[0][1] == best[1][1]


def test_the_recipes_above_move_the_weights_differently(tmp_path):
    """Else the test above could not see what it is there to see."""
    ends = [run(tmp_path / name, recipe).weights() for name, recipe in RECIPES.items()]
    heads = [end["model.head.label.weight"] for end in ends]
    assert not any(torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])


def test_how_often_is_saved_and_looked_up_changes_no_weight(tmp_path):
    recipe = RECIPES["adamw"]
    often = run(tmp_path / "often", recipe, save_seconds=0.0)
    seldom = fitted(tmp_path / "seldom", recipe, steps=STEPS)
    assert differing(often.weights(), seldom.weights()) == []


def test_a_finished_training_is_left_alone(tmp_path):
    before = run(tmp_path, PLAIN)
    saved = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert differing(run(tmp_path, PLAIN).tensors(), before.tensors()) == []
    assert saved == {path: path.read_bytes() for path in saved}


def test_rows_of_steps_that_were_lost_are_written_once(tmp_path):
    whole = run(tmp_path / "whole", PLAIN)
    killed = tmp_path / "killed"
    run(killed, PLAIN, save_seconds=0.0)
    newest, _ = checkpoints(killed)
    newest.unlink()
    with Run(killed).log_file.open("a") as file:
        file.write('{"step": 9, "lo')  # the process died here
    assert differing(run(killed, PLAIN).tensors(), whole.tensors()) == []
    assert without_clock(killed) == without_clock(tmp_path / "whole")
    assert len(Run(killed).log_file.read_text().splitlines()) == len(without_clock(killed))


def checkpoints(folder):
    """Return a run's checkpoints, the newest first."""
    return sorted(Run(folder).checkpoints.glob("step-*"), reverse=True)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-50] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    recipe = RECIPES["muon"]
    whole = run(tmp_path / "whole", recipe)
    with pytest.raises(Stopped):
        run(tmp_path / "hurt", recipe, stop_at=5, save_seconds=0.0)
    newest, _ = checkpoints(tmp_path / "hurt")
    damage(newest)
    assert differing(run(tmp_path / "hurt", recipe).tensors(), whole.tensors()) == []
    assert without_clock(tmp_path / "hurt") == without_clock(tmp_path / "whole")
    for path in checkpoints(tmp_path / "hurt"):
        empty(path)
    with pytest.raises(WeightsError, match=r"no checkpoint of .* can be read"):
        run(tmp_path / "hurt", recipe)


def test_a_task_that_is_no_classification_trains_by_the_same_loop(tmp_path):
    """A line through points of which some have no target; the loss must fall."""

    def batches(start):
        for step in range(start, 1000):
            inputs = torch.randn(16, 2, generator=torch.Generator().manual_seed(step))
            targets = inputs @ torch.tensor([[2.0], [-1.0]]) + 0.5
            targets[: step % 5] = torch.nan
            yield list(zip(inputs.chunk(4), targets.chunk(4), strict=True))

    def train(folder, stop_at=None):
        torch.manual_seed(0)
        task = Regress()
        state = State(task, optimizer(Optim(name="sgd", lr=0.1), task, [task], 16))
        stop = lambda: state.step == stop_at  # noqa: E731
        fit(state, batches, plan(steps=150, log=10), opened(folder), stop=stop)
        return state

    whole = train(tmp_path / "whole")
    losses = [row["loss"] for row in Run(tmp_path / "whole").rows()]
    assert losses[-1] < losses[0] / 100
    assert whole.task.seen == 150
    with pytest.raises(Stopped):
        train(tmp_path / "halves", stop_at=73)
    assert differing(train(tmp_path / "halves").tensors(), whole.tensors()) == []


@pytest.mark.parametrize("stop_at", [None, 5, 7, 8])
def test_a_training_ends_when_its_scores_stay_behind(tmp_path, stop_at):
    """After two looks without a better one, wherever it was stopped in between; and for good."""
    scores = {2: 1.0, 4: 3.0, 6: 2.0, 8: 3.0, 10: 9.0}

    def run_to(stop=None):
        state = fresh()
        fit(
            state,
            feed(),
            plan(steps=12, log=3, evaluate=2, patience=2),
            opened(tmp_path / "run"),
            evaluate=lambda: {"score": scores[state.step]},
            stop=lambda: state.step == stop,
        )
        return state

    if stop_at not in (None, 8):
        with pytest.raises(Stopped):
            run_to(stop_at)
    elif stop_at:
        run_to(stop_at)  # it would have ended there
    assert run_to().step == 8
    assert run_to().step == 8
    assert read_with_notes(Run(tmp_path / "run").best_file)[1] == {"step": 4, "score": 3.0}
