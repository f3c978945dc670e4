"""The confusion matrix: what each class was taken for, as numbers, as a picture, as pairs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from patchword.errors import ConfigError
from patchword.pages.pictures import Picture, colour, png

NUMBERED = 30  # classes up to which every cell holds its number
PAIRS = 12
RIGHT = ("#2f6db500", "#2f6db5")
WRONG = ("#d9661f00", "#d9661f")


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each class (row) was answered with each class (column)."""

    names: tuple[str, ...]
    counts: Integer[np.ndarray, "k k"]
    note: str = ""  # a sentence on how it is read, beside the usual ones

    def __post_init__(self) -> None:
        if self.counts.shape != (len(self.names),) * 2:
            shape = " x ".join(map(str, self.counts.shape))
            raise ConfigError(
                f"the confusion matrix is {shape} for {len(self.names)} class names; "
                "give one row and one column for each name"
            )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One class taken for another: how often, and in which share of its images."""

    truth: str
    answer: str
    count: int
    share: float


def shares(confusion: Confusion) -> Float[np.ndarray, "k k"]:
    """Return each cell's share of its row, 0 to 1; a row without images is all 0."""
    return confusion.counts / np.maximum(confusion.counts.sum(1, keepdims=True), 1)


def matrix_picture(confusion: Confusion) -> Picture:
    """Draw one pixel per cell: right answers and wrong ones, the stronger the more frequent."""
    levels = np.sqrt(shares(confusion))
    right = np.eye(len(levels), dtype=bool)[..., None]
    return png(np.where(right, colour(levels, RIGHT), colour(levels, WRONG)))


def confused_pairs(confusion: Confusion) -> tuple[Pair, ...]:
    """Return the most frequent mistakes, the most frequent first."""
    wrong = confusion.counts * (1 - np.eye(len(confusion.names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    share = shares(confusion)
    return tuple(
        Pair(
            truth=confusion.names[row],
            answer=confusion.names[column],
            count=int(wrong[row, column]),
            share=float(share[row, column]),
        )
        for row, column in places
        if wrong[row, column]
    )
