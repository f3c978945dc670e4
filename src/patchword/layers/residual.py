"""The residual block of convnets."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.depth import StochasticDepth


class Residual(nn.Module):
    """relu(shortcut(x) + branch(x)), He et al. 2016, equations 1 and 2.

    The networks of this kind differ in their branch, which they hand over.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Add what the branch makes of a map to the map."""
        y = self.drop_path(self.branch(x))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)
