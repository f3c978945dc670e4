"""Batches that are taken in pieces, so that what lies between two products stays in a cache."""

from abc import ABC, abstractmethod
from math import ceil

from torch import Tensor, nn

CACHE = 3 << 20  # bytes that a core keeps near; more is not better, nor is much less
FEW = 192  # channels, up to which memory and not arithmetic is what widening them takes


def count_pieces(images: int, taken: int) -> int:
    """Return in how many pieces so many images are best taken, which take so many bytes together.

    That is 1 where the bytes are not much more than `CACHE`, and at most one per image.
    """
    return 1 if taken < 3 * CACHE else min(images, ceil(taken / CACHE))


class Piecewise(nn.Module, ABC):
    """What answers for each image by itself, and on the way holds more numbers than it is given."""

    @abstractmethod
    def held(self, x: Tensor) -> int:
        """Return how many that are for a batch, about; 0 where pieces of it are no use."""
