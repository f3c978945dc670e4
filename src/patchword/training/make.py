"""The moving parts of a training, made from its settings, always the same way."""

import torch

from patchword.engine.average import Average
from patchword.engine.loop import Plan
from patchword.engine.optimizers import freeze, optimizer
from patchword.engine.state import State
from patchword.factory import build
from patchword.training.answers import Asked, cache_folder
from patchword.training.choose import Chosen
from patchword.training.feed import Feed, SceneFeed
from patchword.training.objectives import Objective, objective
from patchword.training.settings import Settings
from patchword.training.teacher import Teacher
from patchword.weights import fill


def make_feed(chosen: Chosen, settings: Settings) -> Feed | SceneFeed:
    """Make the training batches, with the teacher's answers where there is one."""
    if settings.recipe.joint is not None:
        return SceneFeed(
            chosen.data.train,
            settings.recipe,
            chosen.card,
            seed=settings.request.views,
            workers=settings.workers,
            device=torch.device(settings.device),
        )
    feed = Feed(
        chosen.data.train,
        settings.recipe,
        chosen.card.preprocessing,
        steps=settings.steps,
        seed=settings.request.views,
        workers=settings.workers,
        device=torch.device(settings.device),
    )
    if chosen.teacher is not None:
        feed.ask = make_asked(chosen, settings, chosen.teacher, feed)
    return feed


def make_asked(chosen: Chosen, settings: Settings, teacher: Teacher, feed: Feed) -> Asked:
    """Make what a teacher says of a feed's batches."""
    return Asked(
        teacher,
        feed.batches,
        settings.recipe,
        pixels=chosen.card.pixels,
        home=cache_folder(settings.request.cache),
        device=feed.device,
    )


def make_plan(settings: Settings) -> Plan:
    """Return the loop's part of the settings."""
    recipe = settings.recipe
    return Plan(
        steps=settings.steps,
        batch_size=recipe.batch_size,
        warmup=recipe.schedule.warmup(settings.steps, settings.steps_per_epoch),
        schedule=recipe.schedule,
        clip=recipe.optim.clip,
        seed=settings.request.seed,
        precision=settings.precision,
        log=settings.log,
        evaluate=settings.evaluate,
        patience=recipe.patience,
    )


def make_state(chosen: Chosen, settings: Settings) -> State[Objective]:
    """Make network, optimizer and average as they are before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.request.seed)
        model = build(chosen.card)
    if chosen.start is not None:
        fill(model, chosen.start.model.state_dict())
    recipe = settings.recipe
    task = objective(model.to(settings.device), chosen.card, recipe)
    spine = model.backbone.spine()
    frozen = freeze(spine, recipe.frozen)
    made = optimizer(recipe.optim, task, spine, recipe.batch_size)
    average = None if recipe.average is None else Average(task, recipe.average)
    if settings.request.compile:
        task.compile()
    return State(task, made, average, frozen)
