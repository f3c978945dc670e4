"""Batches that are taken in pieces, so that what lies between two products stays in a cache."""

from math import ceil

import torch
from torch import Tensor, nn

CACHE = 3 << 20  # bytes that a core keeps near; more is not better, nor is much less
FEW = 192  # channels, up to which memory and not arithmetic is what they take


def count_pieces(images: int, taken: int) -> int:
    """Return in how many pieces so many images are best taken, which take so many bytes together.

    That is 1 where the bytes are not much more than all cores' `CACHE`, and at most one per image.
    """
    near = CACHE * torch.get_num_threads()
    return 1 if taken < 3 * near else min(images, ceil(taken / near))


class Piecewise(nn.Module):
    """What answers for each image by itself, and on the way holds more numbers than it is given."""

    def held(self, x: Tensor) -> int:
        """Return how many that are for tokens, about; 0 where pieces of a batch are no use."""
        return 2 * x.numel() if x.shape[-1] <= FEW else 0
