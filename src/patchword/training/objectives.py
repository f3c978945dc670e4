"""What is known of pictures decides what is learnt and how it is scored."""

from dataclasses import replace

import torch.nn.functional as F

from patchword.data import Source
from patchword.errors import ConfigError
from patchword.evaluation.multilabel import multilabel
from patchword.evaluation.regression import regression
from patchword.evaluation.scored import Scored
from patchword.evaluation.topk import topk
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.recipes.recipe import Recipe
from patchword.tasks.classify import Classify, Supervised
from patchword.tasks.multilabel import MultiLabel
from patchword.tasks.regress import Regress
from patchword.training.feed import Answers


def objective(model: Classifier, card: Card, recipe: Recipe) -> Supervised:
    """Put the objective around a network that its card's answers are learnt by."""
    if card.kind == "labels":
        return MultiLabel(model)
    return Regress(model, recipe.value_loss) if card.kind == "values" else Classify(model)


def scored(card: Card, answers: Answers) -> Scored:
    """Score answers by what they answer."""
    logits, truth = answers.logits, answers.targets
    if card.kind == "class" or truth is None:
        return topk(logits, answers.labels)
    if card.kind == "labels":
        return multilabel(logits, truth)
    if card.kind == "values":
        assert card.scale is not None
        return regression(card.scale.restored(logits), truth, card.scale.std)
    loss = F.cross_entropy(logits.double(), truth.double()).item()
    return replace(topk(logits, answers.labels), loss=loss)


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
