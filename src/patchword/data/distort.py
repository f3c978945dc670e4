"""Photometric distortion of colours (Liu et al. 2016, SSD), in the order of mmsegmentation.

Departures: nothing is rounded between the steps, where OpenCV's 8-bit colours are, and hue is not
drawn in steps of two degrees.
"""

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor


def distorted(
    image: UInt8[Tensor, "c h w"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    contrast_last: bool,
) -> UInt8[Tensor, "c h w"]:
    """Change a picture's colours; grey ones have no saturation and hue.

    Args:
        image: red, green and blue, or any other channels.
        brightness: levels that are added first.
        contrast: factor of all levels, second or last.
        saturation: factor of the saturation in HSV.
        hue: degrees that colours turn by.
        contrast_last: rather than second.
    """
    colours = (image.float() + brightness).clamp_(0, 255)
    if not contrast_last:
        colours = (colours * contrast).clamp_(0, 255)
    if len(image) == 3:
        colours = turned(saturated(colours, saturation), hue)
    if contrast_last:
        colours = (colours * contrast).clamp_(0, 255)
    return colours.round_().byte()


def saturated(colours: Float32[Tensor, "3 h w"], factor: float) -> Float32[Tensor, "3 h w"]:
    """Multiply the saturation in HSV, up to 1; the largest channel and the hue stay."""
    if factor == 1:
        return colours
    value = colours.amax(dim=0)
    now = 1 - colours.amin(dim=0) / value.clamp(min=1e-6)
    by = (now * factor).clamp(max=1) / now.clamp(min=1e-6)
    return value - (value - colours) * by


def turned(colours: Float32[Tensor, "3 h w"], degrees: float) -> Float32[Tensor, "3 h w"]:
    """Turn the hue in HSV; value and saturation stay."""
    if degrees == 0:
        return colours
    value, least = colours.amax(dim=0), colours.amin(dim=0)
    span = (value - least).clamp(min=1e-6)
    red, green, blue = colours
    hue = torch.where(
        value == red,
        (green - blue) / span,
        torch.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    shifts = torch.tensor([5.0, 3.0, 1.0])[:, None, None]
    place = (shifts + hue + degrees / 60) % 6
    return value - (value - least) * torch.minimum(place, 4 - place).clamp(0, 1)
