"""Regression: learn values, each of mean 0 and deviation 1 over the training images.

Paper      smooth L1: Girshick 2015, arXiv:1504.08083, equation 3
Reference  torch.nn.functional.mse_loss and smooth_l1_loss
Departures the mean over the values is taken first
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.tasks.classify import Supervised


class Regress(Supervised):
    """Squared distance from the targets, or smooth L1, which far-off ones pull less."""

    def __init__(self, model: Classifier, loss: Literal["mse", "smooth_l1"]) -> None:
        super().__init__(model)
        self.distance = F.mse_loss if loss == "mse" else F.smooth_l1_loss

    def cost(
        self, scores: Float[Tensor, "b values"], targets: Float[Tensor, "b values"]
    ) -> Float[Tensor, " b"]:
        return self.distance(scores, targets, reduction="none").mean(dim=1)
