"""A model taught the pictures of a source in memory, for protocols that score what it learns."""

from contextlib import closing
from dataclasses import replace

import torch

from patchword import recipes
from patchword.adaptation import adapt
from patchword.config import dump, parse
from patchword.data import Source, look_at
from patchword.engine.loop import Plan, step
from patchword.engine.optimizers import optimizer
from patchword.engine.state import State
from patchword.errors import DataError
from patchword.evaluation.protocol import Tuning
from patchword.factory import as_classifier, build, config, regularised
from patchword.heads.classify import Classifier
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe
from patchword.training.feed import Feed
from patchword.training.objectives import fitting, objective
from patchword.training.targets import scale_of
from patchword.weights import fill


def tuned(model: Classifier, source: Source, how: Tuning) -> tuple[Classifier, str]:
    """Return a copy of a model, adapted to a source's classes, after it has learnt its pictures.

    Raises:
        DataError: no picture can be read.
    """
    where = next(model.parameters()).device
    assert model.card is not None
    recipe = settled(model.card.model, source, how)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        fitted, _ = adapt(model, classes=source.classes)
        card = fitted.card
        assert card is not None
        drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path_rate}
        settings = regularised(parse(type(config(card.model)), card.config), **drops)
        card = replace(card, config=dump(settings), kind=source.kind, scale=scale_of(source))
        made = as_classifier(build(card))
        fill(made, fitted.state_dict())
        task = objective(made.to(where), card, recipe)
        feed = Feed(
            source,
            recipe,
            card.preprocessing,
            steps=0,
            seed=how.seed,
            workers=0,
            device=where,
        )
        recipe = replace(recipe, batch_size=feed.batches.batch_size)
        steps = recipe.steps or max(1, round(recipe.epochs * feed.batches.steps_per_epoch))
        plan = Plan(
            steps=steps,
            batch_size=recipe.batch_size,
            warmup=recipe.schedule.warmup(steps, feed.batches.steps_per_epoch),
            schedule=recipe.schedule,
            clip=recipe.optim.clip,
            seed=how.seed,
        )
        made_by = optimizer(recipe.optim, task, made.backbone.spine(), recipe.batch_size)
        state = State(task, made_by)
        with closing(feed(0)) as batches:
            while state.step < steps:
                step(state, next(batches), plan)
    return made.eval(), (
        f"all weights learnt {len(source):,} pictures by {recipe.name}: {steps:,} steps of "
        f"{recipe.batch_size}, {recipe.optim.name} {recipe.optim.peak(recipe.batch_size):g}"
    )


def settled(model: str, source: Source, how: Tuning) -> Recipe:
    """Return the recipe for a model and pictures, with what was asked for in place of its own."""
    looked = look_at(source, limit=200)
    if looked.median is None:
        raise DataError(f"no picture can be read: {looked.unreadable[0]}")
    found = Found(
        pictures=len(source),
        size=looked.median,
        same_size=looked.smallest == looked.largest,
        grey=source.channels == 1,
        accelerator=torch.cuda.is_available(),
    )
    recipe = recipes.fitted(how.recipe, model, found)
    if how.steps is not None:
        recipe = replace(recipe, steps=how.steps)
    if how.batch_size is not None:
        recipe = replace(recipe, batch_size=how.batch_size)
    if how.lr is not None:
        recipe = replace(recipe, optim=replace(recipe.optim, lr=how.lr, lr_batch=None))
    even = max(len(source) // 2 * 2, 1)
    recipe = replace(recipe, batch_size=min(recipe.batch_size, even))
    return fitting(source, recipe)[0]
