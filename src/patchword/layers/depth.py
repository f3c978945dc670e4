"""Stochastic depth (Huang et al. 2016, arXiv:1603.09382): branches left out while training."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drop a residual branch for a share of the images, and scale it up for the others.

    Inside `depth_masks` it follows the mask that it was handed; outside, it draws from torch's
    generator.
    """

    kept: Tensor | None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("kept", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Zero the branch's output (b ...) for some of its b images, in training only."""
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(len(x), device=x.device) >= self.rate if self.kept is None else self.kept
        scale = kept.to(x.dtype) / (1 - self.rate)
        return x * scale.view(-1, *[1] * (x.ndim - 1))

    def extra_repr(self) -> str:
        """Show the rate where a module is printed."""
        return f"rate={self.rate:g}"


def ramp(top: float, depth: int) -> list[float]:
    """Return rates that rise linearly from 0 in the first block to `top` in the last."""
    return [top * i / max(depth - 1, 1) for i in range(depth)]


def dropping(model: nn.Module) -> list[StochasticDepth]:
    """List the parts of a model that drop branches, in the order of its modules."""
    return [m for m in model.modules() if isinstance(m, StochasticDepth) and m.rate]


@contextmanager
def depth_masks(parts: list[StochasticDepth], kept: Bool[Tensor, "layers b"]) -> Generator[None]:
    """Let each part keep the images that its row says, inside the block."""
    for part, row in zip(parts, kept, strict=True):
        part.kept = row
    try:
        yield
    finally:
        for part in parts:
            part.kept = None
