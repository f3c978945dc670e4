"""Multi-label classification: say of each label by itself whether an image has it.

Paper      as old as logistic regression; for ImageNet's single labels: Beyer et al. 2020,
           arXiv:2006.07159, section 5
Reference  torch.nn.functional.binary_cross_entropy_with_logits
Departures the mean over the labels is taken first, so that the loss does not grow with them
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.tasks.classify import Supervised


class MultiLabel(Supervised):
    """Binary cross-entropy of every label, against targets from 0 to 1."""

    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").mean(dim=1)


def smooth_each(targets: Float[Tensor, "b classes"], share: float) -> Float[Tensor, "b classes"]:
    """Draw every label a share of the way to undecided."""
    return targets * (1 - share) + share / 2
