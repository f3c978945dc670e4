"""The frame: how a picture of any size becomes one of the model's size, nothing left to chance."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import UInt8
from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a model reads: a size, and the colours that its pictures have."""

    image_size: tuple[int, int]  # rows, columns
    crop: float = 0.9  # share of the resized picture's side that the centre crop keeps
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = (0.5,)  # per channel or one for all, of pixels from 0 to 1
    std: tuple[float, ...] = (0.5,)
    within: tuple[int, int] | None = None  # where every pixel is answered: longer and shorter side
    # into which whole pictures are fitted first, either way up; None: they keep their size


def frame(image: UInt8[Tensor, "c h w"], into: Frame) -> UInt8[Tensor, "c H W"]:
    """Resize until the crop covers its share of the tighter side, and cut out the centre.

    A picture of the right size that is to be kept whole comes back as it is.
    """
    from torchvision.transforms.v2 import functional as F

    size = resized_size(image.shape[-2], image.shape[-1], into)
    resized = resize(image, size, into.interpolation)
    if resized.shape[-2:] == into.image_size:
        return resized
    return F.center_crop(resized, list(into.image_size))


def resize(
    image: UInt8[Tensor, "... c h w"], size: tuple[int, int], interpolation: Interpolation
) -> UInt8[Tensor, "... c H W"]:
    """Resize with antialiasing, as Pillow does; the same size leaves the pixels alone."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as F

    if image.shape[-2:] == size:
        return image
    return F.resize(image, list(size), InterpolationMode(interpolation), antialias=True)


def resized_size(rows: int, columns: int, into: Frame) -> tuple[int, int]:
    """Return timm's sizes, which are rounded down for square frames and to nearest for others."""
    wanted_rows, wanted_columns = (math.floor(side / into.crop) for side in into.image_size)
    if wanted_rows == wanted_columns:
        short = min(rows, columns)
        return wanted_rows * rows // short, wanted_rows * columns // short
    ratio = min(rows / wanted_rows, columns / wanted_columns)
    return round(rows / ratio), round(columns / ratio)


def seen_size(rows: int, columns: int, within: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size of a picture that is fitted into a longer and a shorter side."""
    if within is None:
        return rows, columns
    longer, shorter = max(within), min(within)
    scale = min(longer / max(rows, columns), shorter / min(rows, columns))
    return max(1, int(rows * scale + 0.5)), max(1, int(columns * scale + 0.5))
