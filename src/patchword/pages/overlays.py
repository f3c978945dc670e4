"""Answers place by place in colours: classes laid over a picture, depths from near to far."""

import colorsys
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

from patchword.pages.pictures import colour

UNKNOWN = 255  # the class of pixels that have none
GOLDEN = 0.618034  # turns of hue from one class to the next, so that neighbours differ
TONES = ((0.75, 0.95), (0.55, 0.75), (0.95, 0.6))  # saturation and value, class by class
NEARNESS = ("#1b1035", "#7b2382", "#e35b59", "#fcf3b2")  # far to near
EDGES = (2, 98)  # percentiles of nearness between which colours spread


@cache
def palette() -> UInt8[np.ndarray, "256 3"]:
    """Return the colour of each class; of what has none, black."""
    rows = [
        colorsys.hsv_to_rgb(number * GOLDEN % 1, *TONES[number % len(TONES)])
        for number in range(UNKNOWN)
    ]
    found = np.array([*rows, (0, 0, 0)])
    return (found * 255).round().astype(np.uint8)


def overlay(
    picture: UInt8[np.ndarray, "h w 3"], mask: UInt8[np.ndarray, "h w"], opacity: float = 0.6
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay the colours of classes over a picture."""
    blend = np.empty_like(picture)
    for rows in range(0, len(picture), 256):  # a large picture is not held as floats
        part = slice(rows, rows + 256)
        colours = palette()[mask[part]].astype(np.float32)
        mixed = picture[part] * (1 - opacity) + colours * opacity
        blend[part] = mixed.round().astype(np.uint8)
    return blend


def coloured_depth(nearness: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colour inverse depths of any scale; what is not a number is black."""
    known = np.isfinite(nearness)
    found = np.zeros((*nearness.shape, 3), np.uint8)
    if known.any():
        low, high = np.percentile(nearness[known], EDGES)
        shares = (nearness[known] - low) / max(high - low, 1e-12)
        found[known] = colour(shares.clip(0, 1), NEARNESS)[:, :3]
    return found
