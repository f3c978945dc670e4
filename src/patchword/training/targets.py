"""What a network is to answer for each picture: from what is known to rows of numbers."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.data import Source
from patchword.predictor import Scale
from patchword.recipes.recipe import Recipe
from patchword.tasks.classify import smooth
from patchword.tasks.multilabel import smooth_each


def scale_of(source: Source) -> Scale | None:
    """Return mean and deviation of the values of training pictures; None where there are none."""
    if source.kind != "values" or source.targets is None:
        return None
    values = source.targets.astype(np.float64)
    spread = values.std(axis=0)
    std = np.where(spread > 0, spread, 1.0)
    return Scale(mean=tuple(values.mean(axis=0).tolist()), std=tuple(std.tolist()))


class Targets:
    """The rows that a network is to answer, for pictures of a source by their numbers."""

    def __init__(self, source: Source, recipe: Recipe) -> None:
        self.kind, self.smoothing = source.kind, recipe.smoothing
        self.classes = len(source.classes)
        self.scale = scale_of(source)
        self.known = None if source.targets is None else torch.from_numpy(source.targets)
        self.weights = weights_of(source) if recipe.class_weights == "balanced" else None

    def __call__(self, labels: Tensor, indices: Tensor) -> Float[Tensor, "b classes"]:
        """Return the targets, on the labels' device."""
        if self.known is None:
            return smooth(F.one_hot(labels, self.classes).float(), self.smoothing)
        rows = self.known[indices].to(labels.device)
        if self.scale is not None:
            return self.scale.standard(rows)
        return (smooth_each if self.kind == "labels" else smooth)(rows, self.smoothing)

    def weighed(self, targets: Float[Tensor, "b classes"]) -> Float[Tensor, "b classes"]:
        """Return targets that cost what their classes weigh, as `cross_entropy` weighs them."""
        return targets if self.weights is None else targets * self.weights.to(targets.device)


def weights_of(source: Source) -> Float[Tensor, " classes"]:
    """Weigh each class by the inverse of its pictures; the mean over all pictures is 1."""
    counts = np.bincount(source.labels, minlength=len(source.classes))
    there = np.count_nonzero(counts)
    return torch.from_numpy(len(source) / (np.maximum(counts, 1) * there)).float()
