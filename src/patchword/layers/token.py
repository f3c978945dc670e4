"""Tokens that stand before those of the grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ClassToken(nn.Module):
    """A learned vector put before the tokens, at any depth of a network."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        """Return m = n + 1 tokens."""
        return torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
