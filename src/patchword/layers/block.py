"""The residual block, and what goes on its branches."""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.depth import StochasticDepth
from patchword.layers.grid import Grid
from patchword.layers.pieces import FEW, Piecewise


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), the cheaper of two approximations (Hendrycks & Gimpel 2016)."""

    slope = 1.702

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return a number for each number."""
        return x * torch.sigmoid(self.slope * x)


class Activated(Piecewise):
    """What applies an activation to the answer of one of its maps, and to nothing else.

    Attributes:
        activated: the name of that map.
        act: the activation.
        fc2: the map that reads what comes of it.
    """

    activated: ClassVar[str]
    act: nn.Module
    fc2: nn.Linear

    def held(self, x: Float[Tensor, "b n d"]) -> int:
        return x.shape[:-1].numel() * self.fc2.in_features if x.shape[-1] <= FEW else 0


class Mlp(Activated):
    """Two linear layers with a non-linear function between, the same for every token."""

    activated = "fc1"

    def __init__(
        self, dim: int, hidden: int, *, act: Callable[[], nn.Module] = nn.GELU, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = act()
        self.drop1 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Transform each token by itself."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class LayerScale(nn.Module):
    """A learned factor per channel, small at the start (CaiT, section 2)."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Scale every channel."""
        return x * self.gamma


class Branching(Piecewise):
    """What adds to its input the answers of branches, of which a LayerScale may scale each.

    Attributes:
        scales: names of a scale and of the branch whose answers are all that it scales.
    """

    scales: tuple[tuple[str, str], ...] = (("ls1", "attn"), ("ls2", "mlp"))


class Block(Branching):
    """x + attn(norm(x)), then x + mlp(norm(x)): the pre-norm transformer block.

    It is handed its branches, so it has no options about what they are. What mixes tokens takes
    them and their grid; one that can answer for its first tokens alone, how many as a third.
    """

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)

        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim, eps), attn, scale()
        self.drop_path1 = StochasticDepth(drop_path)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(dim, eps), mlp, scale()
        self.drop_path2 = StochasticDepth(drop_path)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix between tokens, then transform each.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: go on with the first k tokens alone (what the last block of a network is
                read for is often its class token); with all n where it is None.
        """
        if queries is None:
            mixed = self.attn(self.norm1(x), grid)
        else:
            mixed = self.attn(self.norm1(x), grid, queries)
        x = x[:, :queries] + self.drop_path1(self.ls1(mixed))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
