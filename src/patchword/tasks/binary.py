"""Classes by binary cross-entropy: is it there or not, asked of each class by itself.

Paper      Wightman et al. 2021, "ResNet strikes back", arXiv:2110.00476, section 3.1; taken over by
           Touvron et al. 2022, "DeiT III", arXiv:2204.07118, section 3.2
Reference  torch.nn.functional.binary_cross_entropy_with_logits; github.com/facebookresearch/deit,
           engine.py with --bce-loss, for what becomes of mixed targets
Departures none
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword.tasks.classify import Supervised


class Binary(Supervised):
    """Binary cross-entropy of every class; both of those that were mixed are wholly there."""

    def cost(
        self, scores: Float[Tensor, "b classes"], targets: Float[Tensor, "b classes"]
    ) -> Float[Tensor, " b"]:
        there = (targets > 0).to(targets.dtype)
        return F.binary_cross_entropy_with_logits(scores, there, reduction="none").mean(dim=1)
