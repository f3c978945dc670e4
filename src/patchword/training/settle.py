"""From what was asked for to all that runs: what is left to the machine is measured, once."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from patchword import evaluation
from patchword.data import Subset
from patchword.engine.devices import Precision, device
from patchword.evaluation.answers import scores
from patchword.evaluation.protocol import Judged
from patchword.factory import Model
from patchword.heads.classify import Classifier
from patchword.training import measure
from patchword.training.choose import Chosen
from patchword.training.feed import Feed, Steps
from patchword.training.make import make_asked, make_feed, make_plan, make_state
from patchword.training.settings import Request, Settings
from patchword.training.subjects import subject_of
from patchword.training.teacher import Teacher

SCENES = 4  # that a look is timed on
WORTH = 0.95  # share of fp32's time that bf16 must beat to be chosen


def settle(request: Request, chosen: Chosen, began: float) -> Settings:
    """Measure what a request leaves open, and return all that the training runs by.

    Args:
        request: what was asked for.
        chosen: what was picked for it.
        began: when the command did, by `time.perf_counter`.
    """
    where = device(request.device)
    draft = Settings(
        request=request,
        recipe=chosen.recipe,
        precision="bf16" if request.precision == "bf16" else "fp32",
        device=str(where),
        threads=torch.get_num_threads(),
        workers=chosen.workers,
        steps=1000,  # of a training that is only measured
        steps_per_epoch=1,
        log=1,
        evaluate=1,
        fingerprint=chosen.data.train.fingerprint(),
        teacher=chosen.teacher and chosen.teacher.digest,
        reasons=chosen.reasons,
    )
    feed = make_feed(replace(chosen, teacher=None), draft)
    batches = feed.batches
    recipe = replace(chosen.recipe, batch_size=batches.batch_size)
    draft = replace(draft, steps_per_epoch=batches.steps_per_epoch, recipe=recipe)
    if chosen.teacher is not None:
        assert isinstance(feed, Feed)
        draft = with_teacher(draft, chosen, chosen.teacher, feed)
        feed = make_feed(chosen, draft)
    if request.precision == "auto":
        draft = with_precision(draft, chosen, feed)
    if request.minutes is None:
        steps = recipe.steps or max(1, round(recipe.epochs * batches.steps_per_epoch))
        return with_steps(draft, steps)
    return with_steps(*within(request.minutes, draft, chosen, feed, began))


def with_precision(draft: Settings, chosen: Chosen, feed: Steps[Any]) -> Settings:
    """Choose the precision in which a step is faster."""
    times = measure.precision(partial(make_state, chosen, draft), feed, make_plan(draft))
    best: Precision = "bf16" if times["bf16"] < WORTH * times["fp32"] else "fp32"
    spent = ", ".join(f"{kind} {1000 * t:.0f} ms" for kind, t in times.items())
    words = f"precision {best}, measured per step: {spent}"
    return replace(draft, precision=best, reasons=(*draft.reasons, words))


def with_teacher(draft: Settings, chosen: Chosen, teacher: Teacher, feed: Feed) -> Settings:
    """Settle the precision that a teacher computes in: as it was asked before, or the faster one.

    The lower one is taken only if it names the same classes.
    """
    how = draft.recipe.distillation
    assert how is not None
    if how.precision != "auto":
        return draft

    def asked(precision: Precision) -> Settings:
        settled = replace(how, precision=precision)
        return replace(draft, recipe=replace(draft.recipe, distillation=settled))

    kinds: tuple[Precision, ...] = ("fp32", "bf16")
    if draft.request.precision != "auto":
        return asked(draft.request.precision)
    answers = {kind: make_asked(chosen, asked(kind), teacher, feed) for kind in kinds}
    for kind in kinds:
        if how.keep and answers[kind].there(1):
            return asked(kind)
    times, same = measure.teacher(answers["fp32"], feed)
    best: Precision = "bf16" if same and times["bf16"] < WORTH * times["fp32"] else "fp32"
    spent = ", ".join(f"{kind} {1000 * t:.0f} ms" for kind, t in times.items())
    agree = "the same" if same else "not the same"
    words = (
        f"the teacher computes in {best}, measured on {measure.VIEWS} views: {spent}, {agree} "
        "classes in both"
    )
    return replace(asked(best), reasons=(*draft.reasons, words))


def within(
    minutes: float, draft: Settings, chosen: Chosen, feed: Steps[Any], began: float
) -> tuple[Settings, int]:
    """Turn a budget of wall clock into a number of steps."""
    make = partial(make_state, chosen, draft)
    per_step = measure.pace(make, feed, make_plan(draft))
    between, last = evaluation_seconds(make().task.model, chosen)

    def scoring(steps: int) -> float:
        settings = with_steps(draft, steps)
        return -(-steps // settings.evaluate) * between + last

    steps = measure.fitting(minutes, time.perf_counter() - began, scoring, per_step)
    words = f"{1000 * per_step:.1f} ms per step measured, so {steps:,} steps fit"
    return replace(draft, reasons=(*draft.reasons, words)), steps


def evaluation_seconds(model: Model, chosen: Chosen) -> tuple[float, float]:
    """Estimate the time of a look at the validation pictures, and of the last one at all held out.

    From a look at a few of them; what is imported at the first look of all does not count.
    """
    data = chosen.data
    sample = data.validation or data.test or data.train
    of_classes = isinstance(model, Classifier)

    def look(count: int) -> int:
        few = Subset(sample, np.arange(min(count, len(sample))))
        if of_classes:
            scores(model.eval(), few, chosen.card.preprocessing)
        else:
            protocol = evaluation.named(evaluation.OWN[chosen.card.kind])
            judged = Judged(name="", test=few, split="", train=data.train)
            protocol(subject_of(model.eval(), chosen.card), judged)
        return len(few)

    look(1)
    start = time.perf_counter()
    count = look(512 if of_classes else SCENES)
    each = (time.perf_counter() - start) / count
    between = each * len(data.validation or ())
    return between, between + each * len(data.test or ())


def with_steps(draft: Settings, steps: int) -> Settings:
    """Set the steps, and how often to look up: a hundred rows of the log, about ten looks."""
    log = max(1, steps // 100)
    between = max(1, round(max(draft.steps_per_epoch, steps / 10) / log)) * log
    return replace(draft, steps=steps, log=log, evaluate=between)
