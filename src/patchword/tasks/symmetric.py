"""Symmetric cross-entropy, for labels of which some are wrong: targets are asked of answers too.

Paper      Wang et al. 2019, "Symmetric cross entropy for robust learning with noisy labels",
           arXiv:1908.06112, equation 7
Reference  github.com/YisenWang/symmetric_cross_entropy_for_noisy_labels, loss.py
Departures the first term is not cut off where an answer's probability is below 1e-7
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.tasks.classify import Supervised

FLOOR = 1e-4  # of a target, whose logarithm is taken


class Symmetric(Supervised):
    """Cross-entropy of the answer against the target, and of the target against the answer.

    Args:
        model: answers with a score per class.
        alpha: weight of the first, which learns fast and learns wrong labels as well.
        beta: weight of the second, which forgives them.
    """

    def __init__(self, model: Classifier, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__(model)
        self.alpha, self.beta = alpha, beta

    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        forward = F.cross_entropy(scores, targets, reduction="none")
        backward = -(scores.softmax(dim=1) * targets.clamp(FLOOR, 1.0).log()).sum(dim=1)
        return self.alpha * forward + self.beta * backward
