"""Classification: learn one label per image, or shares of several.

Paper      label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7
Reference  torch.nn.functional.cross_entropy
Departures a network with several heads learns the same targets with each; the loss is their mean
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.tasks.base import Loss, Task


class Labelled(NamedTuple):
    """Images and what is on them."""

    images: Float[Tensor, "b c h w"]  # normalised
    targets: Float[Tensor, "b classes"]  # shares of the classes, which sum to 1
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read


class Classify(Task):
    """Cross-entropy against the targets."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def count(self, batch: Labelled) -> Float[Tensor, ""]:
        """Count the pictures that could be read."""
        return batch.weights.sum()

    def forward(self, batch: Labelled, count: Float[Tensor, ""]) -> Loss:
        """Return the mean cross-entropy over the step's pictures, and over the heads."""
        heads = self.model.heads(batch.images)
        parts = {
            name: (F.cross_entropy(scores, batch.targets, reduction="none") * batch.weights).sum()
            / count.clamp(min=1)
            for name, scores in heads.items()
        }
        return Loss(torch.stack(list(parts.values())).mean(), parts)


def smooth(targets: Float[Tensor, "b classes"], share: float) -> Float[Tensor, "b classes"]:
    """Spread a share of every target evenly over all classes."""
    return targets * (1 - share) + share / targets.shape[1]
