"""What a checkpoint holds: a task's weights, its optimizer's state and their moving average."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from patchword.engine.average import Average
from patchword.tasks.base import Task
from patchword.weights import fill

T = TypeVar("T", bound=Task)


@dataclass
class State(Generic[T]):
    """All that a training step changes."""

    task: T
    optimizer: Optimizer
    average: Average | None = None
    frozen: tuple[nn.Module, ...] = ()  # parts that stay as they are, statistics and all
    best: float | None = None  # highest score on the validation pictures so far
    stale: int = 0  # looks at the validation pictures since that score
    step: int = 0  # steps that are done
    running: Tensor = field(init=False)  # sum of the losses since the last row of the log

    def __post_init__(self) -> None:
        """Start the sum of losses where the task is."""
        self.running = torch.zeros((), device=next(self.task.parameters()).device)

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor: `loop.running`, `task.*`, `optimizer.NUMBER.*`, `average.*`."""
        found = {"loop.running": self.running}
        found |= {f"task.{name}": tensor for name, tensor in self.task.state_dict().items()}
        for number, entry in self.optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                found[f"optimizer.{number}.{key}"] = value
        if self.average is not None:
            found |= {f"average.{name}": t for name, t in self.average.tensors.items()}
        return found

    def notes(self) -> dict[str, Any]:
        """Return what is not a tensor."""
        return {"best": self.best, "stale": self.stale}

    def restore(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Take over what `tensors` and `notes` returned, every tensor accounted for."""
        sorted_: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            sorted_.setdefault(kind, {})[rest] = tensor
        fill(self.task, sorted_["task"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in sorted_.get("optimizer", {}).items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.average is not None:
            for name, tensor in sorted_["average"].items():
                self.average.tensors[name].copy_(tensor)
        self.running.copy_(sorted_["loop"]["running"])
        self.best, self.step = notes["best"], int(notes["step"])
        self.stale = int(notes.get("stale", 0))  # checkpoints of before have none

    def weights(self) -> dict[str, Tensor]:
        """Return the task's weights as they are used: averaged where they are averaged."""
        tensors = self.task.state_dict() if self.average is None else self.average.tensors
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}
