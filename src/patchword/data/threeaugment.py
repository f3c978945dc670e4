"""3-Augment: each picture is made grey, or solarised, or blurred.

Paper: Touvron et al., "DeiT III: Revenge of the ViT", 2022, section 3.2. Reference: its code,
augment.py, and timm's policy "3a". Departure: the blur is Gaussian; Pillow's three box blurs are
near it.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.draw import Address, Stream

THRESHOLD = 128  # from here on, pixels are inverted
RADIUS = (0.1, 2.0)  # deviation of the blur in pixels


def three_augment(images: UInt8[Tensor, "b c h w"], address: Address) -> UInt8[Tensor, "b c h w"]:
    """Do one of the three to each picture, in place, each equally likely."""
    drawn = address.uniforms(Stream.THREE_AUGMENT, 2)
    for row, (choice, amount) in enumerate(drawn):
        match int(3 * choice):
            case 0:
                images[row] = greyed(images[row])
            case 1:
                images[row] = torch.where(images[row] < THRESHOLD, images[row], 255 - images[row])
            case _:
                low, high = RADIUS
                images[row] = blurred(images[row], low + (high - low) * float(amount))
    return images


def greyed(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c h w"]:
    """Take the colour out; only pictures of red, green and blue have any."""
    from torchvision.transforms.v2 import functional

    if len(image) != 3:
        return image
    return functional.rgb_to_grayscale(image, num_output_channels=3)


def blurred(image: UInt8[Tensor, "c h w"], sigma: float) -> UInt8[Tensor, "c h w"]:
    """Blur by a Gaussian of a deviation in pixels; what is beyond the edge is as the edge."""
    reach = math.ceil(3 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = torch.from_numpy(weights / weights.sum()).float()
    padded = F.pad(image[:, None].float(), (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel[None, None, None])
    return F.conv2d(across, kernel[None, None, :, None]).round().clamp(0, 255).byte()[:, 0]
