"""LARS: SGD whose step is, for each matrix, in proportion to the matrix.

Paper      You et al. 2017, "Large batch training of convolutional networks", arXiv:1708.03888,
           algorithm 1
Reference  timm's Lars; what is adapted is told as in github.com/facebookresearch/mae, util/lars.py
Departures none
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Lars(Optimizer):
    """Scale the gradients of matrices and kernels to their norms; then SGD with momentum.

    Biases, norms and other vectors are moved by plain SGD, without decay.

    Args:
        groups: of parameters, each with its `lr` and `weight_decay`.
        momentum: of SGD.
        coefficient: length of a step as a share of the weights, at a rate of 1.
        eps: added to the norms that are divided by.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float,
        coefficient: float = 0.001,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {})
        self.momentum, self.coefficient, self.eps = momentum, coefficient, eps

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
        if parameter.ndim > 1:
            decay = group["weight_decay"]
            weights, slope = parameter.norm(), gradient.norm()
            ratio = self.coefficient * weights / (slope + decay * weights + self.eps)
            ratio = torch.where((weights > 0) & (slope > 0), ratio, 1.0)
            gradient = (gradient + decay * parameter) * ratio
        if not state:
            state["speed"] = torch.zeros_like(parameter)
        speed = state["speed"].mul_(self.momentum).add_(gradient)
        parameter.add_(speed, alpha=-group["lr"])
