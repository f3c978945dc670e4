"""Sharpness-aware minimisation around any optimizer: the gradient is taken uphill of the weights.

Paper      Foret et al. 2021, "Sharpness-aware minimization for efficiently improving
           generalization", arXiv:2010.01412, algorithm 1
Reference  github.com/davda54/sam for the order of steps in PyTorch
Departures none; the norm of the gradient is over all parameters, as in the paper

Every step computes two gradients, so it costs twice as much. The loop is none the wiser: its
closure is called twice, with the same pictures, masks and dropout.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

TINY = 1e-12  # added to the norm


class SAM(Optimizer):
    """Step another optimizer by the gradient at the worst point near the weights.

    It keeps nothing between steps; all state is the other's, and so are the groups.

    Args:
        base: takes the step.
        rho: how far uphill, as the norm of the move of all weights together.
    """

    def __init__(self, base: Optimizer, rho: float) -> None:
        super().__init__(base.param_groups, {})
        self.base, self.rho = base, rho
        self.param_groups = base.param_groups

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; `closure` leaves the gradients and returns the loss.

        It is called twice, from where the other asks for a gradient and from uphill of there.
        """
        uphill: Any = partial(self._uphill, closure)
        loss: Any = self.base.step(uphill)
        return loss

    def _uphill(self, closure: Callable[[], Tensor]) -> Tensor:
        """Leave the gradient uphill of the weights, and return the loss where they are."""
        loss = closure()
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            before = [p.clone() for p in moved]
            gradients = [p.grad for p in moved if p.grad is not None]
            scale = self.rho / (nn.utils.get_total_norm(gradients) + TINY)
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter.add_(gradient * scale)
        closure()
        with torch.no_grad():
            for parameter, own in zip(moved, before, strict=True):
                parameter.copy_(own)  # what was added and taken away again would be rounded
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # torch's signature
        """Drop the gradients."""
        self.base.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the other's state."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.base.load_state_dict(state_dict)
        self.param_groups = self.base.param_groups
