"""Top-k accuracy, with its interval, and the confusion behind it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from patchword.evaluation.scored import Scored


@dataclass(frozen=True, kw_only=True)
class TopK(Scored):
    """How well pictures were classified; the loss is cross-entropy, in nats."""

    top1: float
    top5: float  # of all, where there are fewer classes than 5
    recall: tuple[float, ...]  # per class; nan where it has no picture
    precision: tuple[float, ...]  # per class; nan where it was never answered
    confusion: NDArray[np.int64]  # rows: truth, columns: answers

    @property
    def main(self) -> tuple[str, float]:
        return "top-1", self.top1

    @property
    def others(self) -> dict[str, float]:
        return {"top-5": self.top5}


def topk(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> TopK:
    """Score logits against labels."""
    count, classes = scores.shape
    ranked = scores.topk(min(5, classes), dim=1).indices
    right = ranked == labels[:, None]
    top1 = right[:, 0].double().mean().item() if count else float("nan")
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels.numpy(), ranked[:, 0].numpy()), 1)
    hits, truths, answers = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    log_probabilities = scores.double().log_softmax(dim=1)
    loss = -log_probabilities.gather(1, labels[:, None]).mean().item()
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


def _shares(hits: NDArray[np.int64], of: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(int(h) / int(n) if n else float("nan") for h, n in zip(hits, of, strict=True))
