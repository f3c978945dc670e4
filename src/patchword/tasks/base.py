"""What the training loop asks of anything that can be learnt."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class Loss(NamedTuple):
    """What a batch costs."""

    total: Float[Tensor, ""]  # what is minimised
    parts: dict[str, Float[Tensor, ""]]  # what it is made of, for the log


class Task(nn.Module, ABC):
    """Networks and an objective.

    The networks are its submodules and calling it is the training forward pass, so to wrap a
    task in DDP, FSDP or compile is to wrap all that it trains. The loop needs nothing else.
    """

    @abstractmethod
    def count(self, batch: Any) -> Float[Tensor, "*kinds"]:
        """Count what the loss is a mean over, from the targets alone: images, boxes, pixels.

        That is one number; or several, where parts of the loss are means over different things.

        The loop adds the counts of all micro-batches and processes of a step and hands the sum
        to `forward`; accumulated steps then equal those of one large batch.
        """

    @abstractmethod
    def forward(self, batch: Any, count: Float[Tensor, "*kinds"]) -> Loss:
        """Return what a training batch costs: its sum over all, divided by the step's `count`."""

    def after_step(self, progress: float) -> None:
        """Update what gradients do not, such as an averaged teacher.

        Args:
            progress: share of the training that is done, from 0 to 1.
        """
