"""Scores of labels: average precision of each, their mean with its interval, and F1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from patchword.evaluation.scored import Scored, mean, percentiles, resampled


@dataclass(frozen=True, kw_only=True)
class MultiLabelScores(Scored):
    """How well labels were told, each said from 50 % on; the loss is binary cross-entropy."""

    mean_ap: float  # over the labels that some picture has
    f1_macro: float  # mean over the labels
    f1_micro: float  # of all labels of all pictures together
    exact: float  # pictures with all labels right
    ap: tuple[float, ...]  # per label; nan where no picture has it
    recall: tuple[float, ...]  # per label; nan where no picture has it
    precision: tuple[float, ...]  # per label; nan where it was never said
    having: tuple[int, ...]  # pictures that have each label

    @property
    def main(self) -> tuple[str, float]:
        return "mAP", self.mean_ap

    @property
    def others(self) -> dict[str, float]:
        return {"F1 macro": self.f1_macro, "F1 micro": self.f1_micro, "all right": self.exact}


def multilabel(
    logits: Float[Tensor, "n labels"], targets: Float[Tensor, "n labels"]
) -> MultiLabelScores:
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
    return MultiLabelScores(
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
