"""Distillation: learn from the labels and from a teacher, through one token or through two.

Paper      Touvron et al. 2021, arXiv:2012.12877, section 4; soft: Hinton et al. 2015,
           arXiv:1503.02531, section 2
Reference  github.com/facebookresearch/deit, losses.py
Departures the soft term is a mean over the pictures, as equation 2 has it, unless `divide_by` says
           otherwise: the code divides it by pictures times classes

Equation 2 writes KL(student, teacher), the order of torch's arguments. What is meant, and what the
code computes, is the divergence from the teacher: the sum of p_t (log p_t - log p_s).
"""

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from patchword.errors import ConfigError
from patchword.heads.classify import Classifier
from patchword.tasks.base import Loss, Task


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What is learnt from a teacher, and how its answers are asked for and kept."""

    kind: Literal["hard", "soft"] = "hard"  # the class that it names; all that it says
    weight: float = 0.5  # share of the loss that is the teacher's (lambda)
    temperature: float = 1.0  # of soft answers, student's and teacher's (tau)
    divide_by: Literal["samples", "elements"] = "samples"  # elements: samples times classes
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # that the teacher computes in
    keep: bool = True  # the answers, for later runs that see the same pictures
    top: int | None = None  # keep the logits of so many classes alone, the rest as their mean
    replay: int | None = None  # see the views of the first so many epochs, over and over

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1 or not 0 < self.temperature < inf:
            raise ConfigError(
                f"weight is {self.weight}, temperature {self.temperature}; wanted: a weight from 0 "
                "to 1, a temperature above 0"
            )
        for name in ("top", "replay"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; wanted: 1 or more, or null")
        if self.kind == "hard" and (self.top, self.temperature) != (None, 1.0):
            raise ConfigError("top and temperature are of soft answers; leave them, or take soft")


HARD = Distillation()  # equation 3
SOFT = Distillation(kind="soft", weight=0.1, temperature=3.0)  # equation 2, as in section 5.2


class Taught(NamedTuple):
    """Images, what is on them, and what the teacher says of them."""

    images: Float[Tensor, "b c h w"]  # normalised
    targets: Float[Tensor, "b classes"]  # shares of the classes, which sum to 1
    weights: Float[Tensor, " b"]  # 1; 0 for a picture that could not be read
    answers: Int[Tensor, " b"] | Float[Tensor, "b classes"]  # the class it names, or its logits


class Distill(Task):
    """Cross-entropy against the targets, and a distance from a teacher's answers.

    A network with a distillation token learns the targets through its class token and the answers
    through the other one; any other learns both through its one head.
    """

    def __init__(self, model: Classifier, distillation: Distillation) -> None:
        super().__init__()
        self.model, self.distillation = model, distillation

    def count(self, batch: Taught) -> Float[Tensor, ""]:
        """Count the pictures that could be read."""
        return batch.weights.sum()

    def forward(self, batch: Taught, count: Float[Tensor, ""]) -> Loss:
        """Return the weighted sum of both terms, each a mean over the step's pictures."""
        heads = self.model.heads(batch.images)
        own = heads["label"]
        labels = F.cross_entropy(own, batch.targets, reduction="none")
        taught = heads.get("distillation", own)
        teacher = from_teacher(taught, batch.answers, self.distillation)
        parts = {
            name: (each * batch.weights).sum() / count.clamp(min=1)
            for name, each in (("labels", labels), ("teacher", teacher))
        }
        weight = self.distillation.weight
        return Loss((1 - weight) * parts["labels"] + weight * parts["teacher"], parts)


def from_teacher(
    scores: Float[Tensor, "b classes"],
    answers: Int[Tensor, " b"] | Float[Tensor, "b classes"],
    how: Distillation,
) -> Float[Tensor, " b"]:
    """Return each picture's distance from what the teacher says of it."""
    if how.kind == "hard":
        return F.cross_entropy(scores, answers, reduction="none")
    exact = torch.promote_types(scores.dtype, torch.float32)
    ours, theirs = (
        (logits.to(exact) / how.temperature).log_softmax(dim=1) for logits in (scores, answers)
    )
    apart = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
    share = 1 if how.divide_by == "samples" else scores.shape[1]
    return apart * how.temperature**2 / share
