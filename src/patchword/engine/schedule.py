"""How the learning rate goes over a training."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from patchword.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The course of the learning rate: up, then along a curve."""

    kind: Literal["cosine", "linear", "poly", "constant", "steps"] = "cosine"
    warmup_epochs: float | None = None  # linear rise from `warmup_start`
    warmup_steps: int | None = None  # the same in steps, of which a fifth of all is the most
    warmup_share: float = 0.0  # of all steps, where neither of them is set
    warmup_start: float = 0.0  # rate at the first step, as a share of the peak
    end: float = 0.0  # rate at the last step, as a share of the peak
    falls: tuple[float, ...] = (0.3, 0.6, 0.9)  # of `steps`: after these shares of all steps,
    factor: float = 0.1  # the rate falls to this share of what it was
    power: float = 0.9  # of `poly`: that of the share of the steps which are left

    def __post_init__(self) -> None:
        if not all(0 < fall < 1 for fall in self.falls) or not 0 < self.factor < 1:
            raise ConfigError(
                f"falls is {self.falls}, factor {self.factor}; wanted: shares between 0 and 1"
            )
        if not self.power > 0:
            raise ConfigError(f"power is {self.power}; wanted: above 0")

    def warmup(self, steps: int, steps_per_epoch: int) -> int:
        """Return how many of all steps the rate rises for."""
        if self.warmup_epochs is not None:
            return min(round(self.warmup_epochs * steps_per_epoch), steps)
        if self.warmup_steps is not None:
            return min(self.warmup_steps, steps // 5)
        return round(self.warmup_share * steps)

    def rate(self, step: int, steps: int, warmup: int) -> float:
        """Return the share of the peak rate at a step.

        Args:
            step: counted from 0.
            steps: of the whole training.
            warmup: of them, how many the rate rises for.
        """
        if step < warmup:
            return self.warmup_start + (1 - self.warmup_start) * (step + 1) / warmup
        done = (step - warmup) / max(steps - warmup, 1)
        match self.kind:
            case "cosine":
                return self.end + (1 - self.end) * 0.5 * (1 + cos(pi * done))
            case "linear":
                return 1 - (1 - self.end) * done
            case "poly":
                return self.end + (1 - self.end) * (1 - done) ** self.power
            case "constant":
                return 1.0
            case "steps":
                return self.factor ** sum(step > round(fall * steps) for fall in self.falls)
