"""Calibration: whether a model is right as often as it is sure.

Paper      Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599
Reference  none: the definitions are the paper's, section 2
Departures none

The expected calibration error sorts pictures by confidence, the probability of the answer, into
equal bins from 0 to 1, and averages |accuracy - confidence| over the bins, each by its share of
the pictures. The Brier score is the mean squared distance of the probabilities from the truth,
summed over the classes: from 0 to 2 (Brier 1950).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchword.errors import ConfigError
from patchword.evaluation.protocol import Bin, Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import share


@dataclass(frozen=True, kw_only=True)
class Calibration(Protocol):
    """ECE, negative log-likelihood, Brier score, and the bins of a reliability plot."""

    bins: int = 15

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ConfigError(f"bins is {self.bins}; wanted: 1 or more")

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own probabilities."""
        answers = subject.answers(data.test)
        labels = answers.labels
        log_probabilities = answers.logits.double().log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        losses = -log_probabilities.gather(1, labels[:, None])[:, 0]
        right = probabilities.argmax(dim=1) == labels
        bins = reliability(probabilities, labels, self.bins)
        hits, count = int(right.sum()), len(labels)
        distances = brier(probabilities, labels)
        return Finding(
            data=data.name,
            split=data.split,
            count=count,
            scores=(
                share(hits, count),
                Score(name="confidence", value=probabilities.amax(dim=1).mean().item()),
                Score(name="ECE", value=expected_error(bins)),
                _mean("NLL", losses),
                _mean("Brier", distances),
            ),
            unreadable=answers.unreadable,
            reliability=bins,
        )


def reliability(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], count: int
) -> tuple[Bin, ...]:
    """Sort pictures by confidence into equal bins from 0 to 1, each open below."""
    confidence, answers = probabilities.double().max(dim=1)
    number = (confidence * count).ceil().long().sub(1).clamp(0, count - 1)
    inside = torch.bincount(number, minlength=count)
    sure, right = (
        torch.bincount(number, weights=values, minlength=count) / inside
        for values in (confidence, (answers == labels).double())
    )
    rows = zip(inside.tolist(), sure.tolist(), right.tolist(), strict=True)
    return tuple(Bin(count=n, confidence=c, accuracy=a) for n, c, a in rows)


def expected_error(bins: tuple[Bin, ...]) -> float:
    """Return the expected calibration error; biased upwards where pictures are few."""
    total = sum(each.count for each in bins)
    gaps = (each.count * abs(each.accuracy - each.confidence) for each in bins if each.count)
    return sum(gaps) / max(total, 1)


def brier(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return each picture's squared distance from the truth."""
    truth = torch.nn.functional.one_hot(labels, probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1)


def _mean(name: str, values: Float[Tensor, " n"]) -> Score:
    """Return a mean over pictures, with the normal interval of it."""
    mean, half = values.mean().item(), 1.96 * values.std().item() / max(len(values), 1) ** 0.5
    return Score(name=name, value=mean, interval=(mean - half, mean + half), unit="number")


PROTOCOL = Calibration()
