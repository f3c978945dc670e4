"""What is known of pictures decides what is learnt, and what a recipe may ask for."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from patchword.data import Source
from patchword.data.scenes import KINDS
from patchword.errors import ConfigError
from patchword.factory import Model
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.recipes.pick import SCENES
from patchword.recipes.recipe import ClassLoss, Recipe
from patchword.tasks.binary import Binary
from patchword.tasks.bootstrapping import Bootstrapping
from patchword.tasks.classify import Classify, Supervised
from patchword.tasks.distill import Distill
from patchword.tasks.multilabel import MultiLabel
from patchword.tasks.regress import Regress
from patchword.tasks.symmetric import Symmetric
from patchword.training.scenes import LEARNT, SceneTask

Objective: TypeAlias = Supervised | Distill | SceneTask
CLASSES: dict[ClassLoss, Callable[[Classifier], Supervised]] = {
    "cross_entropy": Classify,
    "binary": Binary,
    "symmetric": Symmetric,
    "bootstrapping": Bootstrapping,
}


def objective(model: Model, card: Card, recipe: Recipe) -> Objective:
    """Put the objective around a network that its card's answers are learnt by."""
    if not isinstance(model, Classifier):
        return LEARNT[card.kind].task(model, recipe)
    if recipe.distillation is not None:
        return Distill(model, recipe.distillation)
    if card.kind == "labels":
        return MultiLabel(model)
    if card.kind == "values":
        return Regress(model, recipe.value_loss)
    return CLASSES[recipe.class_loss](model)


def fitting(source: Source, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Fit a recipe to what is known of the pictures, and say what was changed.

    Raises:
        ConfigError: values have no classes to weigh or to balance; a teacher names one class; the
            recipe is of scenes and there are none, or it is not and there are.
    """
    if (source.kind in KINDS) != (recipe.joint is not None):
        wanted = "place by place" if recipe.joint is None else "of whole pictures"
        other = SCENES[source.kind].recipe if source.kind in SCENES else "tiny"
        raise ConfigError(
            f"the recipe {recipe.name} does not learn what this data says {wanted}; leave --recipe "
            f"out, or name one such as {other}"
        )
    if source.kind in KINDS:
        return recipe, ()
    if recipe.distillation is not None and source.kind in ("labels", "values"):
        raise ConfigError(f"a teacher teaches classes, the data has {source.kind}: leave it out")
    if recipe.distillation is not None and recipe.resolution:
        raise ConfigError("a teacher's answers are kept of views of one size: leave resolution out")
    kinds = ("class",) if recipe.class_loss == "binary" else ("class", "shares")
    if recipe.class_loss != "cross_entropy" and source.kind not in kinds:
        raise ConfigError(
            f"class_loss={recipe.class_loss} is of classes, the data has {source.kind}"
        )
    if source.kind != "values":
        if source.kind == "labels" and recipe.class_weights != "none":
            raise ConfigError("class_weights needs one class per picture; use sampling=balanced")
        return recipe, ()
    if recipe.class_weights != "none" or recipe.sampling != "shuffled":
        raise ConfigError("values have no classes: leave class_weights and sampling out")
    mixing = recipe.mixing
    if not (mixing.mixup or mixing.cutmix or recipe.smoothing):
        return recipe, ()
    plain = replace(recipe, mixing=replace(mixing, mixup=0.0, cutmix=0.0), smoothing=0.0)
    return plain, ("mixing and smoothing are off, as values are learnt",)
