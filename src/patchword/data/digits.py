"""`digits`: scikit-learn's handwritten digits, embedded, 1,797 pictures of 8 x 8.

The last 360 are the test set, unshuffled: they were written by other people than the first 1,437.
"""

from typing import Any

import numpy as np
import torch

from patchword.data.pixels import Pixels
from patchword.data.source import ArraySource, Data

TRAIN = 1437


def open_digits(pixels: Pixels) -> Data:
    """Return the digits, their grey levels of 0 to 16 scaled to 0 to 255; nothing is downloaded."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    grey = torch.from_numpy(np.rint(found.images * (255 / 16)).astype(np.uint8))
    images = grey[:, None].expand(-1, pixels.channels, -1, -1)
    labels = found.target.astype(np.int64)
    classes = [str(digit) for digit in range(10)]
    return Data(
        name="digits",
        train=ArraySource(images[:TRAIN], labels[:TRAIN], classes, "train"),
        test=ArraySource(images[TRAIN:], labels[TRAIN:], classes, "test"),
        notes=("no validation split: the test pictures are other people's handwriting",),
    )
