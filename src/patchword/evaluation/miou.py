"""Scores of class maps: IoU, accuracy and Dice of each class, summed over a whole data set.

The rules are mmsegmentation's: pixels are counted over all pictures before anything is divided, a
class that is neither in the truth nor in the answers has no score, and means leave it out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from patchword.data.scene import VOID
from patchword.errors import DataError, ShapeError


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
