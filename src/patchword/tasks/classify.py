"""Classification: learn one label per image, or shares of several.

Paper      label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7
Reference  torch.nn.functional.cross_entropy
Departures a network with several heads learns the same targets with each; the loss is their mean
"""

from abc import abstractmethod
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
    targets: Float[Tensor, "b classes"]  # shares, which sum to 1; or what another task learns
    weights: Float[Tensor, " b"]  # 1, or its class's; 0 for a picture that could not be read


class Supervised(Task):
    """A network that answers a picture with a row of numbers, and what they should have been."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        """Return what each picture's answer costs."""

    def count(self, batch: Labelled) -> Float[Tensor, ""]:
        """Count the pictures that could be read, each by its weight."""
        return batch.weights.sum()

    def forward(self, batch: Labelled, count: Float[Tensor, ""]) -> Loss:
        """Return the mean cost over the step's pictures, and over the heads."""
        heads = self.model.heads(batch.images)
        parts = {
            name: (self.cost(scores, batch.targets) * batch.weights).sum() / count.clamp(min=1)
            for name, scores in heads.items()
        }
        return Loss(torch.stack(list(parts.values())).mean(), parts)


class Classify(Supervised):
    """Cross-entropy against the targets."""

    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        return F.cross_entropy(scores, targets, reduction="none")


def smooth(targets: Float[Tensor, "b classes"], share: float) -> Float[Tensor, "b classes"]:
    """Spread a share of every target evenly over all classes."""
    return targets * (1 - share) + share / targets.shape[1]
