"""The moving parts of a training, made from its settings, always the same way."""

import torch

from patchword.checkpoints import load
from patchword.engine.average import Average
from patchword.engine.loop import Plan
from patchword.engine.optimizers import optimizer
from patchword.engine.state import State
from patchword.factory import adapt, build
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.tasks.classify import Supervised
from patchword.training.choose import Chosen
from patchword.training.feed import Feed
from patchword.training.objectives import objective
from patchword.training.settings import Settings


def make_feed(chosen: Chosen, settings: Settings) -> Feed:
    """Make the training batches."""
    return Feed(
        chosen.data.train,
        settings.recipe,
        chosen.card.preprocessing,
        seed=settings.request.seed,
        workers=settings.workers,
        device=torch.device(settings.device),
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
    )


def make_state(card: Card, settings: Settings) -> State[Supervised]:
    """Make network, optimizer and average as they are before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.request.seed)
        model = build(card)
        if settings.request.init is not None:
            model = start_from(settings.request.init, model, card)
    recipe = settings.recipe
    task = objective(model.to(settings.device), card, recipe)
    made = optimizer(recipe.optim, task, model.backbone.spine(), recipe.batch_size)
    average = None if recipe.average is None else Average(task, recipe.average)
    if settings.request.compile:
        task.compile()
    return State(task, made, average)


def start_from(source: str, model: Classifier, card: Card) -> Classifier:
    """Take over a trained model's weights, adapted to the images and classes of this one."""
    trained, _ = adapt(
        load(source), image_size=card.preprocessing.image_size, num_classes=card.num_classes
    )
    model.load_state_dict(trained.state_dict())
    return model
