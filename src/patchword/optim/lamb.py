"""LAMB: Adam whose step is, for each matrix, in proportion to the matrix.

Paper      You et al. 2020, "Large batch optimization for deep learning", arXiv:1904.00962,
           algorithm 2
Reference  timm's Lamb and apex's FusedLAMB, which DeiT III was trained with
Departures as both of them have it, what does not decay is moved by Adam's step alone; the gradient
           is clipped by the loop; epsilon is that of DeiT III's command
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Lamb(Optimizer):
    """Scale Adam's step, decay and all, to the norm of the weights that it moves.

    Args:
        groups: of parameters, each with its `lr` and `weight_decay`.
        betas: of the averages of gradient and squared gradient.
        eps: added to the root of the latter.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        super().__init__(groups, {})
        self.betas, self.eps = betas, eps

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; `closure` leaves the gradients and returns the loss."""
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = parameter.new_zeros(())
            state |= {name: torch.zeros_like(parameter) for name in ("mean", "square")}
        state["step"] += 1
        beta1, beta2 = self.betas
        mean = state["mean"].lerp_(gradient, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt_().add_(self.eps)
        move = mean / (1 - beta1 ** state["step"]) / root
        if group["weight_decay"]:
            move.add_(parameter, alpha=group["weight_decay"])
            move.mul_(trust(parameter, move))
        parameter.add_(move, alpha=-group["lr"])


def trust(parameter: Tensor, move: Tensor) -> Tensor:
    """Return the norm of weights by the norm of their step; 1 where one of them is 0."""
    ratio = parameter.norm() / move.norm()
    return torch.where((ratio > 0) & ratio.isfinite(), ratio, 1.0)
