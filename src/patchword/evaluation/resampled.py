"""Intervals of any figure, from a test's pictures drawn again (the bootstrap).

Paper      Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1)
Reference  none
Departures none
"""

import numpy as np
from jaxtyping import Float

LEVEL = (2.5, 97.5)  # percentiles that an interval of 95 % lies between
RESAMPLES = 400
WORK = 200_000_000  # numbers that resampling may touch; of larger sets it takes fewer samples
ROOM = 10_000_000  # numbers that are held at once
FEWEST = 40  # samples that an interval is made from


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


def percentiles(figures: Float[np.ndarray, " samples"]) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure of resampled pictures; None where they are too few."""
    found = figures[np.isfinite(figures)]
    if len(found) < FEWEST:
        return None
    low, high = np.percentile(found, LEVEL)
    return float(low), float(high)


def mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean of the values that are numbers; nan if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
