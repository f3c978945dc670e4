"""Muon for the matrices of a network, AdamW for the rest, as one optimizer.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". torch has the
step for matrices alone; the rates of both are AdamW's (its `match_rms_adamw`, Liu et al. 2025,
arXiv:2502.16982), so one schedule serves both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer


class Muon(Optimizer):
    """Step hidden matrices along their orthogonalised momentum, all else by AdamW.

    Args:
        groups: of parameters; those with `"matrices": True` hold matrices only.
        momentum: of Muon.
        betas: of AdamW.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, momentum: float, betas: tuple[float, float]
    ) -> None:
        matrices = [group for group in groups if group["matrices"]]
        others = [group for group in groups if not group["matrices"]]
        self.parts: list[Optimizer] = []
        if matrices:
            self.parts.append(
                torch.optim.Muon(matrices, momentum=momentum, adjust_lr_fn="match_rms_adamw")
            )
        if others:
            self.parts.append(AdamW(others, betas=betas, fused=True))
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; `closure` leaves the gradients and returns the loss."""
        with torch.enable_grad():
            loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # torch's signature
        """Drop the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both, numbered as the parameters of their groups in order."""
        state: dict[int, Any] = {}
        start = 0
        for part in self.parts:
            found = part.state_dict()
            state |= {start + number: entry for number, entry in found["state"].items()}
            start += _size(part)
        return {"state": state, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        start = 0
        for part in self.parts:
            end = start + _size(part)
            own = {n - start: e for n, e in state_dict["state"].items() if start <= n < end}
            part.load_state_dict({"state": own, "param_groups": part.state_dict()["param_groups"]})
            start = end
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def _size(part: Optimizer) -> int:
    return sum(len(group["params"]) for group in part.param_groups)
