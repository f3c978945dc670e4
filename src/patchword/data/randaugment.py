"""RandAugment, as timm's `rand-m9-mstd0.5-inc1` has it: the operations and their magnitudes.

Paper: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search
space", 2020. Reference: timm, whose "increasing" operations all grow stronger with the level.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.draw import Address, Stream
from patchword.data.frame import Frame, Interpolation
from patchword.data.warp import warp

TOP = 10.0  # the level that gives an operation's full strength
OPERATIONS = (
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize_add",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """How many operations, how strong, how likely."""

    layers: int = 2
    magnitude: float = 9.0  # of 10
    std: float = 0.5  # of the level, drawn about the magnitude
    probability: float = 0.5  # that a chosen operation is done
    increasing: bool = True


def rand_augment(
    images: UInt8[Tensor, "b c h w"],
    settings: RandAugment,
    frame: Frame,
    address: Address,
    interpolation: Interpolation,
) -> UInt8[Tensor, "b c h w"]:
    """Do random operations to each picture, in place; the frame's mean colour comes in."""
    channels = images.shape[1]
    mean = torch.tensor(frame.mean).mul(255).round().clamp(0, 255).byte().expand(channels)
    drawn = address.uniforms(Stream.RAND_AUGMENT, 4 * settings.layers)
    drawn = drawn.reshape(len(images), settings.layers, 4)
    for row, layer in np.argwhere(drawn[..., 0] < settings.probability):
        _, choice, normal, sign = drawn[row, layer]
        name = OPERATIONS[int(choice * len(OPERATIONS))]
        level = settings.magnitude + settings.std * NormalDist().inv_cdf(float(normal))
        amount = strength(
            name,
            min(max(level, 0.0), TOP) / TOP,
            negative=bool(sign < 0.5),
            increasing=settings.increasing,
        )
        images[row] = operate(name, images[row], amount, fill=mean, interpolation=interpolation)
    return images


def strength(name: str, level: float, *, negative: bool, increasing: bool) -> float:
    """Return an operation's argument at a level from 0 to 1.

    Args:
        name: one of `OPERATIONS`.
        level: a share of the full strength.
        negative: the other way, for operations that have two.
        increasing: whether 0 leaves the picture alone for all of them.
    """
    sign = -1 if negative else 1
    match name:
        case "rotate":
            return sign * level * 30  # degrees
        case "shear_x" | "shear_y":
            return sign * level * 0.3
        case "translate_x" | "translate_y":
            return sign * level * 0.45  # of the side
        case "posterize":
            bits = int(level * 4)  # kept
            return float(4 - bits if increasing else bits)
        case "solarize":
            threshold = int(level * 256)
            return float(256 - threshold if increasing else threshold)
        case "solarize_add":
            return float(int(level * 110))
        case "color" | "contrast" | "brightness" | "sharpness":
            return max(0.1, 1 + sign * level * 0.9) if increasing else level * 1.8 + 0.1
        case _:
            return 0.0  # not a matter of degree


def operate(
    name: str,
    image: UInt8[Tensor, "c h w"],
    amount: float,
    *,
    fill: UInt8[Tensor, " c"],
    interpolation: Interpolation,
) -> UInt8[Tensor, "c h w"]:
    """Do one operation to one picture; `amount` is `strength`'s."""
    from torchvision.transforms.v2 import functional as F

    match name:
        case "rotate" | "shear_x" | "shear_y" | "translate_x" | "translate_y":
            maps = _map(name, amount, image.shape[-2], image.shape[-1])[None]
            return warp(image[None], maps, fill=fill, interpolation=interpolation)[0]
        case "solarize_add":
            return torch.where(image < 128, image.clamp(max=255 - int(amount)) + int(amount), image)
        case "solarize":
            return F.solarize(image, amount) if amount < 256 else image
        case "posterize":
            return F.posterize(image, int(amount))
        case "auto_contrast" | "equalize" | "invert":
            plain: dict[str, Any] = {
                "auto_contrast": F.autocontrast,
                "equalize": F.equalize,
                "invert": F.invert,
            }
            return plain[name](image)
        case _:
            blend: dict[str, Any] = {
                "color": F.adjust_saturation,
                "contrast": F.adjust_contrast,
                "brightness": F.adjust_brightness,
                "sharpness": F.adjust_sharpness,
            }
            return blend[name](image, amount)


def _map(name: str, amount: float, rows: int, columns: int) -> np.ndarray:
    """Return where a point of the result comes from; shears are about the top left corner."""
    match name:
        case "shear_x":
            return np.array([[1, amount, 0], [0, 1, 0]], dtype=np.float64)
        case "shear_y":
            return np.array([[1, 0, 0], [amount, 1, 0]], dtype=np.float64)
        case "translate_x":
            return np.array([[1, 0, amount * columns], [0, 1, 0]], dtype=np.float64)
        case "translate_y":
            return np.array([[1, 0, 0], [0, 1, amount * rows]], dtype=np.float64)
        case _:
            turn = math.radians(amount)
            linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            centre = np.array([columns / 2, rows / 2])
            return np.column_stack((linear, centre - linear @ centre))
