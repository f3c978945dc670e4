"""How the learning rate goes over a training."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The course of the learning rate: up, then along a curve."""

    kind: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_epochs: float | None = None  # linear rise from `warmup_start`
    warmup_share: float = 0.0  # of all steps, where epochs are not set
    warmup_start: float = 0.0  # rate at the first step, as a share of the peak
    end: float = 0.0  # rate at the last step, as a share of the peak

    def warmup(self, steps: int, steps_per_epoch: int) -> int:
        """Return how many of all steps the rate rises for."""
        if self.warmup_epochs is None:
            return round(self.warmup_share * steps)
        return min(round(self.warmup_epochs * steps_per_epoch), steps)

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
            case "constant":
                return 1.0
