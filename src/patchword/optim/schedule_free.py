"""Schedule-free AdamW and SGD: an average of the iterates in the place of a falling rate.

Paper      Defazio et al. 2024, "The road less scheduled", arXiv:2405.15682, algorithm 1
Reference  github.com/facebookresearch/schedule_free, the closure forms
Departures the rate, warm-up and all, is the loop's; use a schedule that is constant after it

Between steps the weights are x, the average, which is what is evaluated and kept; a step looks at
the gradient at y, between x and the iterate z, and then puts x back. So nothing has to be
switched between training and evaluation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class ScheduleFree(Optimizer):
    """Move z by AdamW's or SGD's rule, and the weights towards it by ever smaller shares.

    Args:
        groups: of parameters, each with its `lr` and `weight_decay`.
        momentum: how near y is to x rather than to z; the paper's beta.
        beta2: of the squared gradient's average; None is SGD.
        eps: added to its root.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float,
        beta2: float | None = None,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {})
        self.momentum, self.beta2, self.eps = momentum, beta2, eps

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; `closure` leaves the gradients at y and returns the loss there."""
        averages: dict[nn.Parameter, Tensor] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                averages[parameter] = parameter.clone()
                parameter.lerp_(self._state(parameter)["z"], 1 - self.momentum)
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, averages[parameter], group)
                parameter.copy_(averages[parameter])
        return loss

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["z"] = parameter.clone()
            state |= {name: parameter.new_zeros(()) for name in ("step", "highest", "total")}
            if self.beta2 is not None:
                state["square"] = torch.zeros_like(parameter)
        return state

    def _move(self, y: nn.Parameter, x: Tensor, group: dict[str, Any]) -> None:
        """Move z by the gradient at y, and x towards it; steps weigh as their squared rate."""
        assert y.grad is not None
        state, gradient = self._state(y), y.grad
        rate = state["highest"].new_tensor(group["lr"])
        state["step"] += 1
        if self.beta2 is not None:
            square = state["square"].mul_(self.beta2)
            square.addcmul_(gradient, gradient, value=1 - self.beta2)
            gradient = gradient / square.sqrt().add_(self.eps)
            rate *= (1 - self.beta2 ** state["step"]).sqrt()
        z = state["z"].sub_((gradient + group["weight_decay"] * y) * rate)
        weight = state["highest"].copy_(torch.maximum(state["highest"], rate)).square()
        total = state["total"].add_(weight)
        x.lerp_(z, weight / total.clamp(min=torch.finfo(total.dtype).tiny))
