"""Random erasing: a rectangle of noise that looks like the data set's pixels.

Paper: Zhong et al., "Random erasing data augmentation", AAAI 2020. Area and aspect are timm's.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from patchword.data.draw import Address, Stream
from patchword.data.frame import Frame

AREA = (0.02, 1 / 3)  # share of the picture
ASPECT = (0.3, 1 / 0.3)  # height by width
ATTEMPTS = 10


def erase(
    images: UInt8[Tensor, "b c h w"], probability: float, frame: Frame, address: Address
) -> UInt8[Tensor, "b c h w"]:
    """Fill a rectangle of some pictures with per-pixel normal noise of the frame's mean and std."""
    drawn = address.uniforms(Stream.ERASE, 3 + 2 * ATTEMPTS)
    channels, rows, columns = images.shape[1:]
    boxes = {
        row: erase_box(rows, columns, drawn[row, 1:])
        for row in np.flatnonzero(drawn[:, 0] < probability).tolist()
    }
    if not boxes:
        return images
    noise = _noise(address, list(boxes), channels * max(h * w for _, _, h, w in boxes.values()))
    mean, std = (255 * torch.tensor(values).view(-1, 1, 1) for values in (frame.mean, frame.std))
    for (row, (top, left, height, width)), normal in zip(boxes.items(), noise, strict=True):
        count = channels * height * width
        patch = normal[:count].view(channels, height, width) * std + mean
        images[row, :, top : top + height, left : left + width] = patch.round().clamp(0, 255).byte()
    return images


def erase_box(
    rows: int, columns: int, drawn: Float64[np.ndarray, " k"]
) -> tuple[int, int, int, int]:
    """Return top, left, height and width; all zero where no attempt fits."""
    areas = (AREA[0] + (AREA[1] - AREA[0]) * drawn[2::2]) * rows * columns
    aspects = ASPECT[0] * (ASPECT[1] / ASPECT[0]) ** drawn[3::2]
    for area, aspect in zip(areas, aspects, strict=True):
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < rows and width < columns:
            top, left = int(drawn[0] * (rows - height + 1)), int(drawn[1] * (columns - width + 1))
            return top, left, height, width
    return 0, 0, 0, 0


def _noise(address: Address, rows: list[int], count: int) -> Float32[Tensor, "n count"]:
    """Draw normal numbers, each from 16 bits: the middle of one of 65,536 equal quantiles."""
    chosen = Address(address.seed, address.epoch, address.samples[rows], address.views[rows])
    halves = chosen.words(Stream.NOISE, -(-count // 2)).view(np.uint16)
    return _quantiles()[torch.from_numpy(halves[:, :count].astype(np.int64))]


@lru_cache(maxsize=1)
def _quantiles() -> Float32[Tensor, " 65536"]:
    return torch.special.ndtri((torch.arange(65536, dtype=torch.float64) + 0.5) / 65536).float()
