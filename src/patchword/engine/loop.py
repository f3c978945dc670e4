"""The training loop. There is one.

It knows steps, gradients and when to look up. What is learnt is the task's business, where
batches come from the data's, and what a step is made of the optimizer's. To train in another way
(a GAN's two optimizers, say) write another loop from the same parts: it is this short.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchword.engine.devices import Precision, computing
from patchword.engine.run import Run
from patchword.engine.schedule import Schedule
from patchword.engine.state import State
from patchword.errors import Diverged, Stopped
from patchword.layers.depth import depth_masks, dropping

Feed = Callable[[int], Iterator[list[Any]]]
"""From a step on: that step's micro-batches, the next step's, and so on. A step's are a function
of its number alone, so that a training which was stopped goes on with the same ones."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to train, and when to look up. Counts are optimizer steps."""

    steps: int
    batch_size: int  # images per step
    warmup: int = 0
    schedule: Schedule = field(default_factory=Schedule)
    clip: float | None = None
    seed: int = 0
    precision: Precision = "fp32"
    log: int = 50
    evaluate: int = 1000
    patience: int | None = None  # looks without a better score that end the training
    save_seconds: float = 60.0  # a checkpoint at least this often; it changes nothing else


def fit(
    state: State[Any],
    feed: Feed,
    plan: Plan,
    run: Run,
    *,
    evaluate: Callable[[], Mapping[str, float]] | None = None,
    watch: Callable[[Mapping[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train to the end of a plan, from wherever the run directory got to.

    Args:
        state: what is trained; changed in place.
        feed: the micro-batches of every step.
        plan: how long and how.
        run: where to write; the newest checkpoint there is where to go on from.
        evaluate: scores on held-out pictures, `score` among them: the higher, the better.
        watch: is shown every row of the log.
        stop: asked after every step; true ends the training with a checkpoint.

    Raises:
        Diverged: the loss is not finite; the newest checkpoint is from before that.
        Stopped: `stop` said so.
    """
    found = run.restore()
    if found is not None:
        state.restore(*found)
    timer, saved_at = Timer(), time.perf_counter()
    batches = feed(state.step)
    while state.step < plan.steps and not tired(state, plan):
        with timer.waiting():
            now = next(batches)
        done = step(state, now, plan)
        rows: list[Mapping[str, Any]] = []
        if due(done, plan.log, plan):
            rows.append(progress(state, plan, timer))
        if due(done, plan.evaluate, plan) and evaluate is not None:
            rows.append({"step": done, **evaluation(state, evaluate, run)})
            timer.start()
        for row in rows:
            run.log(row)
            watch(row)
        stopping, last = stop(), done == plan.steps or tired(state, plan)
        if stopping or last or time.perf_counter() - saved_at > plan.save_seconds:
            sound(state)
            run.save(done, state.tensors(), state.notes())
            saved_at = time.perf_counter()
        if stopping and not last:
            raise Stopped(f"stopped at step {done} of {plan.steps}; the same command goes on")


class Timer:
    """Seconds since the last row of the log, and those of them spent waiting for data."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin a row."""
        self.began, self.waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Count the time inside the block as waiting."""
        before = time.perf_counter()
        yield
        self.waited += time.perf_counter() - before


def progress(state: State[Any], plan: Plan, timer: Timer) -> Mapping[str, Any]:
    """Return a row for the log, and begin the next one."""
    seconds = time.perf_counter() - timer.began
    since = (state.step - 1) % plan.log + 1
    row = {
        "step": state.step,
        "loss": finite(state.running, state.step) / since,
        "lr": max(group["lr"] for group in state.optimizer.param_groups),
        "seconds": seconds,
        "images_per_second": since * plan.batch_size / seconds,
        "waiting": timer.waited / seconds,
    }
    state.running.zero_()
    timer.start()
    return row


def step(state: State[Any], batches: list[Any], plan: Plan) -> int:
    """Take one optimizer step on some micro-batches, and return how many are done."""
    rate = plan.schedule.rate(state.step, plan.steps, plan.warmup)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    state.task.train()
    for part in state.frozen:
        part.eval()
    closure = partial(gradient, state, batches, plan)
    loss = state.optimizer.step(closure)  # pyright: ignore[reportArgumentType, reportCallIssue]
    state.step += 1
    if state.average is not None:
        state.average.update(state.step)
    state.task.after_step(state.step / plan.steps)
    state.running += loss
    return state.step


def gradient(state: State[Any], batches: list[Any], plan: Plan) -> Tensor:
    """Leave the gradient of a step's micro-batches in the parameters, and return their loss.

    It is the optimizer's closure, so one that needs two gradients per step, such as SAM, calls
    it twice and the loop is none the wiser.
    """
    state.optimizer.zero_grad()
    count = torch.stack([state.task.count(batch) for batch in batches]).sum(dim=0)
    masks = Masks(state.task, plan, state.step, len(batches))
    total = torch.zeros((), device=count.device)
    for number, batch in enumerate(batches):
        torch.manual_seed(address(plan.seed, state.step, number + 1))  # dropout's draws
        with masks.of(number), computing(plan.precision, count.device):
            loss = state.task(batch, count).total
        loss.backward()
        total += loss.detach()
    if plan.clip is not None:
        nn.utils.clip_grad_norm_(state.task.parameters(), plan.clip)
    return total


class Masks:
    """Stochastic depth's masks of one step: layers by images, drawn for the whole batch."""

    def __init__(self, task: nn.Module, plan: Plan, step: int, slices: int) -> None:
        self.parts = dropping(task)
        if self.parts:
            draw = torch.Generator().manual_seed(address(plan.seed, step, 0))
            uniform = torch.rand(len(self.parts), plan.batch_size, generator=draw)
            rates = torch.tensor([part.rate for part in self.parts])
            device = next(task.parameters()).device
            self.kept = (uniform >= rates[:, None]).to(device).chunk(slices, dim=1)

    def of(self, number: int) -> AbstractContextManager[None]:
        """Hand the parts their masks for one micro-batch."""
        return depth_masks(self.parts, self.kept[number]) if self.parts else nullcontext()


def address(seed: int, step: int, number: int) -> int:
    """Return a generator's seed for a place in a training."""
    words = np.random.SeedSequence((seed, step, number)).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def evaluation(
    state: State[Any], evaluate: Callable[[], Mapping[str, float]], run: Run
) -> Mapping[str, float]:
    """Score the weights as they are used, and keep them if they are the best so far."""
    sound(state)
    state.task.eval()
    with nullcontext() if state.average is None else state.average.applied():
        scores = evaluate()
    if state.best is None or not scores["score"] <= state.best:  # a best that is no number goes
        state.best, state.stale = scores["score"], 0
        run.save_best(state.weights(), {"step": state.step, **scores})
    else:
        state.stale += 1
    return scores


def tired(state: State[Any], plan: Plan) -> bool:
    """Tell whether the scores have not become better for as long as a plan waits for it."""
    return plan.patience is not None and state.stale >= plan.patience


def sound(state: State[Any]) -> None:
    """Make sure that what is about to be kept is made of numbers.

    A step whose loss is finite can leave weights that are not.

    Raises:
        Diverged: it is not.
    """
    finite(state.running, state.step)
    weights = [parameter.detach() for parameter in state.task.parameters()]
    finite(nn.utils.get_total_norm(weights), state.step, "norm of the weights")


def finite(value: Tensor, step: int, name: str = "loss") -> float:
    """Return a value as a number.

    Raises:
        Diverged: it is not finite.
    """
    number = value.item()
    if not isfinite(number):
        raise Diverged(
            f"the {name} was {number} at step {step}; the newest checkpoint is from before that. "
            "A lower --lr, a longer warm-up or --precision fp32 may help"
        )
    return number


def due(done: int, every: int, plan: Plan) -> bool:
    """Tell whether something falls due: at every so many steps, and at the end."""
    return done % every == 0 or done == plan.steps
