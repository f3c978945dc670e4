"""How many pieces a batch is taken in, so that what lies between two products stays in a cache."""

from math import ceil

from torch import Tensor

CACHE = 3 << 20  # bytes that a core keeps near; more is not better, nor is much less


def count_pieces(x: Tensor, widened: int) -> int:
    """Return in how many pieces a batch is best taken.

    Args:
        x: a batch, whose rows (its last axis) are each widened on the way.
        widened: to so many numbers.

    Returns:
        1 where all that they take is not much more than `CACHE`, else at most one per image.
    """
    taken = x.shape[:-1].numel() * widened * x.element_size()
    return 1 if taken < 3 * CACHE else min(len(x), ceil(taken / CACHE))
