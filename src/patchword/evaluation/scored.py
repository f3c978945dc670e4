"""What every score has in common, whatever was scored."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LEVEL = (2.5, 97.5)  # percentiles that an interval of 95 % lies between
RESAMPLES = 400
WORK = 200_000_000  # numbers that resampling may touch; of larger sets it takes fewer samples
ROOM = 10_000_000  # numbers that are held at once
FEWEST = 40  # samples that an interval is made from


@dataclass(frozen=True, kw_only=True)
class Scored(ABC):
    """How well pictures were answered. Shares are from 0 to 1."""

    count: int  # pictures that were scored
    interval: tuple[float, float]  # of the main figure, 95 %
    loss: float  # mean over the pictures of what was minimised
    unreadable: tuple[str, ...] = ()  # why pictures were not scored
    split: str = "scored"  # which pictures they are

    @property
    @abstractmethod
    def main(self) -> tuple[str, float]:
        """The figure that weights are chosen by, the higher the better, and its name."""

    @property
    @abstractmethod
    def others(self) -> dict[str, float]:
        """Further figures, by name."""


def resampled(pictures: int, work: int = 1) -> Float[np.ndarray, "samples n"]:
    """Draw a test's pictures again, with repetition, always alike: how often each was drawn.

    Args:
        pictures: of the test.
        work: numbers that a figure looks at for each picture.
    """
    room = min(ROOM // max(pictures, 1), WORK // max(pictures * work, 1))
    samples = min(RESAMPLES, room) if pictures > 1 else 0
    draw = np.random.Generator(np.random.Philox(0))
    counts = np.zeros((samples, pictures))
    for row in counts:
        row += np.bincount(draw.integers(0, pictures, pictures), minlength=pictures)
    return counts


def percentiles(figures: Float[np.ndarray, " samples"]) -> tuple[float, float]:
    """Return the percentile interval (Efron 1979) of a figure of resampled pictures, 95 %."""
    found = figures[np.isfinite(figures)]
    if len(found) < FEWEST:
        return float("nan"), float("nan")
    low, high = np.percentile(found, LEVEL)
    return float(low), float(high)


def mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean of the values that are numbers; nan if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
