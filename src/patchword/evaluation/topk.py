"""Top-k accuracy, with its interval, and the confusion behind it."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from patchword.evaluation.protocol import ClassScore, Finding, Judged, Protocol, Score, Subject


@dataclass(frozen=True)
class TopK:
    """How well pictures were classified. Shares are from 0 to 1."""

    count: int  # pictures that were scored
    top1: float
    top5: float  # of all, where there are fewer classes than 5
    interval: tuple[float, float]  # of `top1`, 95 %
    loss: float  # mean cross-entropy, in nats
    recall: tuple[float, ...]  # per class; nan where it has no picture
    precision: tuple[float, ...]  # per class; nan where it was never answered
    confusion: NDArray[np.int64]  # rows: truth, columns: answers

    @property
    def scores(self) -> tuple[Score, ...]:
        """What tables and logs show of it."""
        return (
            Score(name="top-1", value=self.top1, interval=self.interval),
            Score(name="top-5", value=self.top5),
            Score(name="loss", value=self.loss, unit="number"),
        )


def topk(
    scores: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    shares: Float[Tensor, "n classes"] | None = None,
) -> TopK:
    """Score logits against labels.

    Args:
        scores: logits.
        labels: the class of each picture.
        shares: of the classes, where more is known: the loss is against them.
    """
    count, classes = scores.shape
    ranked = scores.topk(min(5, classes), dim=1).indices
    right = ranked == labels[:, None]
    top1 = right[:, 0].double().mean().item() if count else float("nan")
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels.numpy(), ranked[:, 0].numpy()), 1)
    hits, truths, answers = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    truth = labels if shares is None else shares.double()
    loss = F.cross_entropy(scores.double(), truth).item()
    return TopK(
        count=count,
        top1=top1,
        top5=right.any(dim=1).double().mean().item() if count else float("nan"),
        interval=wilson(int(right[:, 0].sum()), count),
        loss=loss,
        recall=_shares(hits, truths),
        precision=_shares(hits, answers),
        confusion=confusion,
    )


def wilson(hits: int, count: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927), for 95 % unless z says otherwise."""
    if count == 0:
        return 0.0, 1.0
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)  # rounding may pass the ends


def share(hits: int, count: int, *, name: str = "top-1", under: str = "") -> Score:
    """Return the score of so many hits; of no pictures at all, 0 with an interval of everything."""
    return Score(name=name, value=hits / max(count, 1), interval=wilson(hits, count), under=under)


def _shares(hits: NDArray[np.int64], of: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(int(h) / int(n) if n else float("nan") for h, n in zip(hits, of, strict=True))


@dataclass(frozen=True, kw_only=True)
class Accuracy(Protocol):
    """Share of right answers, the first and among the first five, and the cross-entropy."""

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers."""
        answers = subject.answers(data.test)
        found = topk(answers.logits, answers.labels, answers.targets)
        counts = found.confusion.sum(axis=1).tolist()
        return Finding(
            data=data.name,
            split=data.split,
            count=found.count,
            scores=found.scores,
            unreadable=answers.unreadable,
            per_class=tuple(map(ClassScore, counts, found.recall, found.precision)),
            confusion=found.confusion,
        )


PROTOCOL = Accuracy()
