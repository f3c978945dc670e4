"""Scores of labels: average precision of each, their mean with its interval, and F1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from patchword.data import Kind
from patchword.evaluation.protocol import ClassScore, Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.resampled import mean, percentiles, resampled


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """How well labels were told, each said from 50 % on. Shares are from 0 to 1."""

    count: int  # pictures that were scored
    mean_ap: float  # over the labels that some picture has
    interval: tuple[float, float] | None  # of `mean_ap`, 95 %
    f1_macro: float  # mean over the labels
    f1_micro: float  # of all labels of all pictures together
    exact: float  # pictures with all labels right
    loss: float  # mean binary cross-entropy, in nats
    ap: tuple[float, ...]  # per label; nan where no picture has it
    recall: tuple[float, ...]  # per label; nan where no picture has it
    precision: tuple[float, ...]  # per label; nan where it was never said
    having: tuple[int, ...]  # pictures that have each label


def multilabel(logits: Float[Tensor, "n labels"], targets: Float[Tensor, "n labels"]) -> MultiLabel:
    """Score logits against labels of 0 and 1."""
    scores, truth = logits.double().numpy(), targets.numpy() > 0.5
    said = scores >= 0
    hits, having, answered = (both.sum(axis=0) for both in (said & truth, truth, said))
    ranked = [Ranked(scores[:, k], truth[:, k]) for k in range(truth.shape[1])]
    once = np.ones(len(truth))
    ap = np.array([column.average_precision(once) for column in ranked])
    drawn = resampled(*truth.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = hits / having, hits / answered
        f1 = np.where(having > 0, 2 * hits / (having + answered), np.nan)
        micro = 2 * hits.sum() / (having.sum() + answered.sum())
    return MultiLabel(
        count=len(truth),
        mean_ap=mean(ap),
        interval=percentiles(np.array([_mean_ap(ranked, counts) for counts in drawn])),
        f1_macro=mean(f1),
        f1_micro=float(micro),
        exact=float((said == truth).all(axis=1).mean()) if len(truth) else float("nan"),
        loss=float(binary_cross_entropy_with_logits(logits.double(), targets.double())),
        ap=tuple(ap.tolist()),
        recall=tuple(recall.tolist()),
        precision=tuple(precision.tolist()),
        having=tuple(having.tolist()),
    )


class Ranked:
    """One label's scores from the highest down, ready to be counted in several ways."""

    def __init__(self, scores: Float[np.ndarray, " n"], truth: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.truth = truth[self.order]
        self.last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of equal scores

    def average_precision(self, counts: Float[np.ndarray, " n"]) -> float:
        """Return the area under the steps of precision over recall; nan without a positive.

        Args:
            counts: how often each picture counts.
        """
        counts = counts[self.order]
        right = np.cumsum(counts * self.truth)[self.last]
        answered = np.cumsum(counts)[self.last]
        if not len(right) or right[-1] == 0:
            return float("nan")
        gained = np.diff(right, prepend=0) / right[-1]
        return float((gained * right / np.maximum(answered, 1)).sum())


def _mean_ap(ranked: Sequence[Ranked], counts: Float[np.ndarray, " n"]) -> float:
    return mean(np.array([one.average_precision(counts) for one in ranked]))


@dataclass(frozen=True, kw_only=True)
class AveragePrecision(Protocol):
    """Mean average precision of the labels, that of each, F1, and pictures with all right."""

    wants: ClassVar[tuple[Kind, ...]] = ("labels",)

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers."""
        answers = subject.answers(data.test)
        assert answers.targets is not None
        found = multilabel(answers.logits, answers.targets)
        names = subject.card.classes or map(str, range(len(found.ap)))
        return Finding(
            data=data.name,
            split=data.split,
            count=found.count,
            scores=(
                Score(name="mAP", value=found.mean_ap, interval=found.interval),
                Score(name="F1 macro", value=found.f1_macro),
                Score(name="F1 micro", value=found.f1_micro),
                Score(name="all right", value=found.exact),
                Score(name="loss", value=found.loss, unit="number"),
                *(
                    Score(name="AP", value=ap, under=name)
                    for name, ap in zip(names, found.ap, strict=True)
                ),
            ),
            unreadable=answers.unreadable,
            per_class=tuple(map(ClassScore, found.having, found.recall, found.precision)),
        )


PROTOCOL = AveragePrecision()
