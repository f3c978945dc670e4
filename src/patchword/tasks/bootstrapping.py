"""Soft bootstrapping, for labels of which some are wrong: a part of every target is the answer.

Paper      Reed et al. 2015, "Training deep neural networks on noisy labels with bootstrapping",
           arXiv:1412.6596, equation 6; beta as in its section 5
Reference  none by the authors
Departures none
"""

from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.tasks.classify import Supervised


class Bootstrapping(Supervised):
    """Cross-entropy against a mixture of target and answer; the gradient is of both.

    Args:
        model: answers with a score per class.
        beta: share of the target.
    """

    def __init__(self, model: Classifier, beta: float = 0.95) -> None:
        super().__init__(model)
        self.beta = beta

    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        mixed = self.beta * targets + (1 - self.beta) * scores.softmax(dim=1)
        return -(mixed * scores.log_softmax(dim=1)).sum(dim=1)
