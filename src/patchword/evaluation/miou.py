"""Scores of class maps: IoU, accuracy and Dice of each class, summed over a whole data set.

The rules are mmsegmentation's: pixels are counted over all pictures before anything is divided, a
class that is neither in the truth nor in the answers has no score, and means leave it out.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64, Integer, UInt8
from torch import Tensor

from patchword.data import Kind, Source
from patchword.data.scene import VOID
from patchword.errors import DataError, ShapeError
from patchword.evaluation.answers import relabelled
from patchword.evaluation.looker import Seen
from patchword.evaluation.protocol import ClassScore, Finding, Judged, Protocol, Score
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.predictor import Card


@dataclass(frozen=True, kw_only=True)
class MeanIoU:
    """How well the pixels of a data set were classified. Shares are from 0 to 1."""

    iou: Float64[np.ndarray, " classes"]  # nan where neither truth nor answers have the class
    accuracy: Float64[np.ndarray, " classes"]  # share of its pixels; nan where the truth has none
    dice: Float64[np.ndarray, " classes"]  # nan as `iou`
    mean_iou: float  # over the classes that have one, as the next two; nan where none has
    mean_accuracy: float
    mean_dice: float
    all_accuracy: float  # share of all pixels that are right; nan of no pixels
    pixels: int  # that were scored


class Confusion:
    """Counts of pixels by their class and by the answer; sums over pictures, workers, processes.

    Args:
        classes: how many there are.
        void: marks pixels of the truth that do not count.

    Attributes:
        counts: rows: truth, columns: answers.
    """

    counts: Int64[np.ndarray, "classes classes"]

    def __init__(self, classes: int, *, void: int = VOID) -> None:
        self.classes, self.void = classes, void
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, answers: Integer[Tensor, "*b h w"], truth: Integer[Tensor, "*B H W"]) -> None:
        """Count the pixels of one picture, or of several of one size.

        Raises:
            ShapeError: the maps differ in size.
            DataError: one of them has a class that there is not.
        """
        if answers.shape != truth.shape:
            raise ShapeError(
                f"the answers are of size {tuple(answers.shape)}, the truth of "
                f"{tuple(truth.shape)}; resize the scores to it before the classes are picked"
            )
        known = truth != self.void
        pairs = {"the truth": truth[known].long(), "an answer": answers[known].long()}
        for name, found in pairs.items():
            if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < self.classes:
                strange = int(found.max() if found.min() >= 0 else found.min())
                raise DataError(
                    f"{name} has class {strange}; wanted: 0 to {self.classes - 1}, or "
                    f"{self.void} where the truth is not known"
                )
        places = pairs["the truth"] * self.classes + pairs["an answer"]
        counts = places.bincount(minlength=self.classes**2)
        self.counts += counts.view(self.classes, self.classes).cpu().numpy()

    def score(self) -> MeanIoU:
        """Return what was counted so far, as shares."""
        hits = self.counts.diagonal().astype(np.float64)
        truths, answers = self.counts.sum(axis=1), self.counts.sum(axis=0)
        iou = _shares(hits, truths + answers - hits)
        accuracy, dice = _shares(hits, truths), _shares(2 * hits, truths + answers)
        pixels = int(self.counts.sum())
        return MeanIoU(
            iou=iou,
            accuracy=accuracy,
            dice=dice,
            mean_iou=_mean(iou),
            mean_accuracy=_mean(accuracy),
            mean_dice=_mean(dice),
            all_accuracy=float(hits.sum()) / pixels if pixels else float("nan"),
            pixels=pixels,
        )


def _shares(hits: np.ndarray, of: np.ndarray) -> Float64[np.ndarray, " classes"]:
    return np.where(of > 0, hits / np.maximum(of, 1), np.nan)


def _mean(values: Float64[np.ndarray, " classes"]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def numbered(source: Source, card: Card) -> UInt8[Tensor, " 256"]:
    """Return the model's number of each of a source's classes; `VOID` stays what it is.

    Raises:
        DataError: the model does not know one of them.
    """
    table = torch.full((256,), VOID, dtype=torch.uint8)
    places = torch.arange(len(source.classes))
    table[places] = relabelled(places, source, card).to(torch.uint8)
    return table


@dataclass(frozen=True, kw_only=True)
class Overlap(Protocol):
    """Mean IoU, at the labels' own resolution, that of each class, and shares of right pixels."""

    wants: ClassVar[tuple[Kind, ...]] = ("mask",)
    view: Viewing = field(default_factory=Viewing)

    def __call__(self, subject: Viewer, data: Judged) -> Finding:
        """Score the classes of all pixels that have one."""
        source, table = data.test, numbered(data.test, subject.card)
        classes = subject.card.num_classes
        total, cost = Confusion(classes), 0.0
        unreadable: list[str] = []
        pictures: list[tuple[int, float]] = []
        for seen in subject.scenes(source):
            if isinstance(seen, str):
                unreadable.append(seen)
                continue
            own = Confusion(classes)
            cost += self._counted(subject, seen, table, own)
            total.counts += own.counts
            if own.counts.any():
                pictures.append((seen.number, own.score().mean_iou))
        found = total.score()
        loss = cost / found.pixels if found.pixels else float("nan")
        return Finding(
            data=data.name,
            split=data.split,
            count=len(source) - len(unreadable),
            scores=scores_of(found, loss, subject.card),
            notes=(f"pictures were seen {subject.words(source, self.view)}",),
            unreadable=tuple(unreadable),
            per_class=per_class(total),
            counted="pixels",
            pictures=tuple(pictures),
            confusion=total.counts,
        )

    def _counted(
        self, subject: Viewer, seen: Seen, table: UInt8[Tensor, " 256"], into: Confusion
    ) -> float:
        """Count the pixels of a picture, and return what its answers cost."""
        assert seen.scene.mask is not None
        truth, cost = table[seen.scene.mask.long()], 0.0
        for rows, scores in subject.parts(seen.picture, self.view):
            logits = scores.float().cpu()
            if not self.view.once:
                logits = logits.clamp(min=1e-12).log()
            part = truth[None, rows].long()
            into.add(logits.argmax(dim=1), part)
            cost += F.cross_entropy(logits, part, ignore_index=VOID, reduction="sum").item()
        return cost


def scores_of(found: MeanIoU, loss: float, card: Card) -> tuple[Score, ...]:
    """Return what tables and logs show: of all, then the IoU of each class."""
    names = card.names
    return (
        Score(name="mIoU", value=found.mean_iou),
        Score(name="pixel accuracy", value=found.all_accuracy),
        Score(name="mean accuracy", value=found.mean_accuracy),
        Score(name="mean Dice", value=found.mean_dice),
        Score(name="loss", value=loss, unit="number"),
        *(
            Score(name="IoU", value=iou, under=name)
            for name, iou in zip(names, found.iou.tolist(), strict=True)
        ),
    )


def per_class(counted: Confusion) -> tuple[ClassScore, ...]:
    """Return how the pixels of each class fared."""
    found, counts = counted.score(), counted.counts
    hits, answered = counts.diagonal().astype(np.float64), counts.sum(axis=0)
    precision = _shares(hits, answered)
    rows = (counts.sum(axis=1), found.accuracy, precision, found.iou)
    return tuple(
        ClassScore(count, recall, precise, (("IoU", iou),))
        for count, recall, precise, iou in zip(*(row.tolist() for row in rows), strict=True)
    )


PROTOCOL = Overlap()
