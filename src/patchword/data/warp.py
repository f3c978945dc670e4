"""Moving pixels: affine maps of a batch, each picture by its own, and shifts by whole pixels.

Coordinates are those of Pillow and of `grid_sample(align_corners=False)`: a pixel's centre is at
(column + 0.5, row + 0.5). A map says for a point of the result where it comes from.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from patchword.data.frame import Interpolation


def warp(
    images: UInt8[Tensor, "b c h w"],
    maps: Float64[np.ndarray, "b 2 3"],
    *,
    fill: UInt8[Tensor, " c"],
    interpolation: Interpolation,
) -> UInt8[Tensor, "b c h w"]:
    """Apply one affine map to each picture; what comes from outside takes the fill.

    The identity gives the same pixels, to the bit.
    """
    batch, _, rows, columns = images.shape
    x, y = torch.arange(columns) + 0.5, torch.arange(rows) + 0.5
    size = torch.tensor([columns, rows])
    weights = torch.from_numpy(maps).float()[..., None, None]
    source = weights[:, :, 0] * x + weights[:, :, 1] * y[:, None] + weights[:, :, 2]
    source = source.permute(0, 2, 3, 1)
    sampled = F.grid_sample(
        images.float(),
        source * (2 / size) - 1,
        mode=interpolation,
        padding_mode="border",
        align_corners=False,
    )
    outside = ((source < 0) | (source >= size)).any(-1).view(batch, 1, rows, columns)
    return sampled.round_().clamp_(0, 255).byte().where(~outside, fill.view(-1, 1, 1))


def shift(
    images: UInt8[Tensor, "b c h w"], by: Int64[np.ndarray, "b 2"]
) -> UInt8[Tensor, "b c h w"]:
    """Move each picture up and left by whole pixels (rows, columns); black comes in."""
    batch, channels, rows, columns = images.shape
    reach = int(np.abs(by).max())
    padded = F.pad(images, (reach,) * 4)
    offsets = torch.from_numpy(by) + reach
    row = offsets[:, :1] + torch.arange(rows)
    column = offsets[:, 1:] + torch.arange(columns)
    flat = (row[:, :, None] * padded.shape[-1] + column[:, None, :]).view(batch, 1, -1)
    moved = padded.flatten(2).gather(2, flat.expand(-1, channels, -1))
    return moved.view(images.shape)
