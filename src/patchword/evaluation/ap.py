"""Average precision of what a detector finds: COCO's twelve numbers, and what was taken for what.

The numbers are of all answers, whatever their scores. What is told of single pictures and of pairs
of classes is of those that are sure enough: from the score on at which F1 is best, unless one is
said, and at an overlap of one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from patchword.data import Kind
from patchword.data.scene import Objects as Known
from patchword.errors import ConfigError
from patchword.evaluation.answers import relabelled
from patchword.evaluation.detection import (
    AveragePrecision,
    Detection,
    Detections,
    Objects,
    box_iou,
    recalls,
)
from patchword.evaluation.looker import Spotter
from patchword.evaluation.protocol import ClassScore, Curve, Finding, Judged, Protocol, Score
from patchword.heads.detector import Answers
from patchword.predictor import Card

HALF = 0.5  # overlap from which an answer is of an object
DRAWN = 10  # classes up to which each has a curve
UNDEFINED = -1.0  # as COCO writes it


class Spotted(NamedTuple):
    """A picture's answers, and what is in it."""

    number: int  # of the picture in its source
    found: Detections
    objects: Objects


@dataclass(frozen=True, kw_only=True)
class Precision(Protocol):
    """COCO's AP and AR of boxes, those of each class, and F1 at one score."""

    wants: ClassVar[tuple[Kind, ...]] = ("objects",)
    threshold: float | None = None  # least score of what is kept; None: that of the best F1

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}; wanted: a score from 0 to 1")

    def __call__(self, subject: Spotter, data: Judged) -> Finding:
        """Score the boxes of all pictures."""
        source, card = data.test, subject.card
        numbers = relabelled(torch.arange(len(source.classes)), source, card)
        total, seen = Detection(card.num_classes), list[Spotted]()
        unreadable: list[str] = []
        for each in subject.scenes(source):
            if isinstance(each, str):
                unreadable.append(each)
                continue
            assert each.scene.objects is not None
            truth = objects(each.scene.objects, numbers)
            seen.append(Spotted(each.number, detections(subject.objects(each.picture)), truth))
            total.add(seen[-1].found, truth)
        found, (best, f1) = total.score(), total.operating_point()
        least = best if self.threshold is None else self.threshold
        counts = [confused(each, least, card.num_classes) for each in seen]
        confusion = sum(counts, np.zeros((card.num_classes + 1,) * 2, np.int64))
        if self.threshold is not None:
            f1 = f1_of(confusion)
        return Finding(
            data=data.name,
            split=data.split,
            count=len(seen),
            scores=scores_of(found, f1, least, card),
            notes=(subject.said(source), words(least, best=self.threshold is None)),
            unreadable=tuple(unreadable),
            per_class=per_class(found, confusion),
            counted="objects",
            curves=curves(found, card),
            pictures=tuple((s.number, f1_of(c)) for s, c in zip(seen, counts, strict=True)),
            ranked="F1",
            confusion=confusion,
        )


def words(least: float, *, best: bool) -> str:
    """Say which answers are kept where single ones are told of."""
    why = ", at which F1 is best on these pictures" if best else ""
    return f"F1 and the confusion are of answers from a score of {least:.3g} on{why}"


def objects(known: Known, numbers: Int64[Tensor, " classes"]) -> Objects:
    """Return what is in a picture, as the model numbers its classes."""
    return Objects(
        labels=numbers[known.labels].numpy(),
        boxes=spanned(known.boxes),
        areas=known.areas.double().numpy(),
        crowd=known.crowd.numpy(),
    )


def detections(answers: Answers) -> Detections:
    """Return answers as they are scored."""
    labels, scores = answers.labels.numpy(), answers.scores.double().numpy()
    return Detections(labels=labels, scores=scores, boxes=spanned(answers.boxes))


def spanned(boxes: Tensor) -> np.ndarray:
    """Turn left, top, right and bottom into left, top, width and height, in double precision."""
    low, high = boxes.double().split(2, dim=1)
    return torch.cat([low, high - low], dim=1).numpy()


def confused(spotted: Spotted, least: float, classes: int) -> Int64[np.ndarray, "k k"]:
    """Count what was taken for what: the last row is of nothing, the last column of no answer.

    Answers take objects of their own class first, the surest the one that it overlaps most; what is
    left then takes what is left. An answer on a crowd alone does not count.
    """
    _, found, known = spotted
    kept = np.flatnonzero(found.scores >= least)
    kept = kept[np.argsort(-found.scores[kept], kind="stable")]
    labels, crowd = found.labels[kept], known.crowd
    overlap = box_iou(found.boxes[kept], known.boxes, crowd)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    free, open_ = ~crowd, np.ones(len(kept), bool)
    for same in (True, False):
        for row in np.flatnonzero(open_).tolist():
            fit = free & (overlap[row] >= HALF) & ((known.labels == labels[row]) | (not same))
            if fit.any():
                taken = int(np.argmax(np.where(fit, overlap[row], -1)))
                counts[known.labels[taken], labels[row]] += 1
                free[taken] = open_[row] = False
    lost = open_ & (overlap[:, crowd] >= HALF).any(axis=1)
    counts[classes] += np.bincount(labels[open_ & ~lost], minlength=classes + 1)
    counts[:, classes] += np.bincount(known.labels[free], minlength=classes + 1)
    return counts


def f1_of(counts: Int64[np.ndarray, "k k"]) -> float:
    """Return F1 from what was taken for what; 1 where nothing is there and nothing was said."""
    right = int(counts.diagonal()[:-1].sum())
    total = int(counts[:-1].sum() + counts[:, :-1].sum())
    return 2 * right / total if total else 1.0


def defined(value: float) -> float:
    """Return a number of COCO's, nan where it is not defined."""
    return float("nan") if value == UNDEFINED else float(value)


def scores_of(found: AveragePrecision, f1: float, least: float, card: Card) -> tuple[Score, ...]:
    """Return what tables and logs show: of all, then of each class."""
    half = half_of(found)
    names = card.names
    rows = zip(names, found.per_class.tolist(), half, strict=True)
    return (
        *(Score(name=name, value=defined(value)) for name, value in found.numbers.items()),
        Score(name="F1", value=f1),
        Score(name="threshold", value=least, unit="number"),
        *(
            Score(name=f"class {name}", value=defined(value), under=label)
            for label, *both in rows
            for name, value in zip(("AP", "AP50"), both, strict=True)
        ),
    )


def half_of(found: AveragePrecision) -> list[float]:
    """Return the AP of each class at an overlap of one half."""
    return found.precision[0, :, :, 0, -1].mean(axis=0).tolist()


def per_class(found: AveragePrecision, counts: Int64[np.ndarray, "k k"]) -> tuple[ClassScore, ...]:
    """Return how the objects of each class fared."""
    right, known, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    rows = zip(right, known, said, found.per_class.tolist(), half_of(found), strict=False)
    return tuple(
        ClassScore(
            count=int(there),
            recall=float(hits / there) if there else float("nan"),
            precision=float(hits / answers) if answers else float("nan"),
            measures=(("AP", defined(ap)), ("AP50", defined(half))),
        )
        for hits, there, answers, ap, half in rows
    )


def curves(found: AveragePrecision, card: Card) -> tuple[Curve, ...]:
    """Return precision by recall: the mean over classes at two overlaps, and each class's."""
    names = card.names
    precision = found.precision[..., 0, -1]
    there = np.flatnonzero(precision[0, 0] != UNDEFINED)
    if not len(there):
        return ()
    rows = [("mean, overlap 0.5", precision[0][:, there].mean(axis=1))]
    rows.append(("mean, overlap 0.75", precision[5][:, there].mean(axis=1)))
    if 1 < len(names) <= DRAWN:
        rows += [(names[k], precision[0, :, k]) for k in there.tolist()]
    return tuple(curve(name, row) for name, row in rows)


def curve(name: str, precision: np.ndarray) -> Curve:
    """Return a curve up to the recall that is reached."""
    values: Sequence[float] = np.where(precision > 0, precision, np.nan).tolist()
    return Curve(name, tuple(recalls().tolist()), tuple(values))


PROTOCOL = Precision()
