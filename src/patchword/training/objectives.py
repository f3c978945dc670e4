"""What is known of pictures decides what is learnt, and what a recipe may ask for."""

from dataclasses import replace

from patchword.data import Source
from patchword.errors import ConfigError
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.recipes.recipe import Recipe
from patchword.tasks.classify import Classify, Supervised
from patchword.tasks.multilabel import MultiLabel
from patchword.tasks.regress import Regress


def objective(model: Classifier, card: Card, recipe: Recipe) -> Supervised:
    """Put the objective around a network that its card's answers are learnt by."""
    if card.kind == "labels":
        return MultiLabel(model)
    return Regress(model, recipe.value_loss) if card.kind == "values" else Classify(model)


def fitting(source: Source, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Fit a recipe to what is known of the pictures, and say what was changed.

    Raises:
        ConfigError: values have no classes to weigh or to balance.
    """
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
