"""An exponential moving average of the weights (Polyak and Juditsky 1992)."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averaged copies of a module's parameters and buffers that are kept in checkpoints.

    The decay rises with the steps, to `min(decay, (1 + step) / (10 + step))`, so that short
    trainings are not averaged with their start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.tensors = {name: t.detach().clone() for name, t in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after a step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = self.module.state_dict()
        moving = [name for name, tensor in now.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            [self.tensors[name] for name in moving], [now[name] for name in moving], 1 - decay
        )
        for name in now.keys() - set(moving):
            self.tensors[name].copy_(now[name])

    @contextmanager
    def applied(self) -> Generator[None]:
        """Let the module have the averaged weights inside the block, and its own after it."""
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        _copy(self.module, self.tensors)
        try:
            yield
        finally:
            _copy(self.module, own)


@torch.no_grad()
def _copy(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(tensors[name])
