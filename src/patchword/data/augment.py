"""Augmentation: what is done to a view of a sample, as a function of (seed, epoch, sample, view).

Pictures are cropped one by one, since their sizes differ; everything after that is done to a batch
of one size. Each step draws from a stream of its own, so turning one on leaves the others alone.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64, UInt8
from torch import Tensor

from patchword.data.draw import Address, Stream
from patchword.data.erase import erase
from patchword.data.frame import Frame, Interpolation, frame, resize
from patchword.data.randaugment import RandAugment, rand_augment
from patchword.data.threeaugment import three_augment
from patchword.data.warp import shift, warp
from patchword.errors import ConfigError

ATTEMPTS = 10  # at a crop that fits into the picture, before the centre is taken


@dataclass(frozen=True, kw_only=True)
class PlainCrop:
    """Resize the whole picture, pad it, and cut the frame out anywhere."""

    resize: float = 1.0  # side of the resized picture by that of the frame
    squeeze: bool = False  # resize both sides to that; else the shorter one
    pad: int = 4  # reflected pixels around it

    def __post_init__(self) -> None:
        if not self.resize >= 1 or self.pad < 0:
            raise ConfigError(
                f"resize is {self.resize}, pad {self.pad}; wanted: at least 1, and 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to training pictures. The steps come in this order, after the crop and flip."""

    crop_scale: tuple[float, float] | None = (0.08, 1.0)  # share of the area; None: the frame's
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width by height
    plain_crop: PlainCrop | None = None  # in the place of both
    hflip: float = 0.5  # probability
    rand_augment: RandAugment | None = None
    three_augment: bool = False  # one of grey, solarised and blurred, each picture
    color_jitter: float = 0.0  # brightness, contrast, saturation: factors within 1 +- this
    translate: float = 0.0  # share of the side; whole pixels where it is the only one of these
    rotate: float = 0.0  # degrees; this and the following uniform within +- the setting
    zoom: float = 0.0  # the factor within 1 +- this
    shear: float = 0.0  # degrees
    erase: float = 0.0  # probability; Zhong et al., "Random erasing data augmentation", 2020
    interpolation: Interpolation = "bicubic"  # of the crop and RandAugment; else bilinear

    def __post_init__(self) -> None:
        for name in ("hflip", "erase", "translate", "zoom", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; wanted: from 0 to 1")
        low, high = self.crop_scale or (1, 1)
        if not 0 < low <= high <= 1 or not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ConfigError(
                f"crop_scale is {self.crop_scale}, crop_ratio {self.crop_ratio}; "
                "wanted: (low, high), the scale within 0 and 1"
            )
        if self.plain_crop is not None and self.crop_scale is not None:
            raise ConfigError("plain_crop is in the place of crop_scale: set the latter to null")
        if self.rand_augment is not None and self.three_augment:
            raise ConfigError("rand_augment and three_augment are both on; wanted: one of them")

    @property
    def cropped(self) -> bool:
        """Tell whether a crop is drawn for each view; else pictures are framed."""
        return self.crop_scale is not None or self.plain_crop is not None


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How batches are mixed; off where both alphas are 0."""

    mixup: float = 0.0  # alpha of the Beta distribution that the share is drawn from
    cutmix: float = 0.0
    switch: float = 0.5  # probability of CutMix where both are on
    probability: float = 1.0  # that a batch is mixed at all

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0:
            raise ConfigError(f"mixup is {self.mixup}, cutmix {self.cutmix}; wanted: 0 or more")
        if not (0 <= self.switch <= 1 and 0 <= self.probability <= 1):
            raise ConfigError("switch and probability are probabilities; wanted: from 0 to 1")


def crop(
    image: UInt8[Tensor, "c h w"], augment: Augment, into: Frame, drawn: Float64[np.ndarray, " k"]
) -> UInt8[Tensor, "c H W"]:
    """Cut a random part out and resize it to the frame (Szegedy et al., 2015).

    Args:
        image: of any size.
        augment: the settings.
        into: what is wanted; its own crop where the settings have none.
        drawn: `draw_crops`' row for this view.
    """
    if augment.plain_crop is not None:
        return plainly_cropped(image, augment, into, drawn)
    if augment.crop_scale is None:
        return frame(image, into)
    top, left, rows, columns = crop_box(image.shape[-2], image.shape[-1], augment, drawn)
    part = image[:, top : top + rows, left : left + columns]
    return resize(part, into.image_size, augment.interpolation)


def plainly_cropped(
    image: UInt8[Tensor, "c h w"], augment: Augment, into: Frame, drawn: Float64[np.ndarray, " k"]
) -> UInt8[Tensor, "c H W"]:
    """Resize, pad and cut out, as DeiT III's simple random crop and BiT's do."""
    how = augment.plain_crop
    assert how is not None
    rows, columns = into.image_size
    high, wide = round(how.resize * rows), round(how.resize * columns)
    if not how.squeeze:
        scale = max(high / image.shape[-2], wide / image.shape[-1])
        high = max(math.floor(scale * image.shape[-2]), high)
        wide = max(math.floor(scale * image.shape[-1]), wide)
    whole = resize(image, (high, wide), augment.interpolation)
    if how.pad:
        reach = min(how.pad, high - 1, wide - 1)
        whole = F.pad(whole[None].float(), (reach,) * 4, mode="reflect")[0].byte()
    top = int(drawn[0] * (whole.shape[-2] - rows + 1))
    left = int(drawn[1] * (whole.shape[-1] - columns + 1))
    return whole[:, top : top + rows, left : left + columns]


def draw_crops(address: Address) -> Float64[np.ndarray, "n k"]:
    """Draw what `crop` needs, for every view."""
    return address.uniforms(Stream.CROP, 2 + 2 * ATTEMPTS)


def crop_box(
    rows: int, columns: int, augment: Augment, drawn: Float64[np.ndarray, " k"]
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random crop; the formulas are timm's."""
    assert augment.crop_scale is not None
    (low, high), (narrow, wide) = augment.crop_scale, augment.crop_ratio
    areas = (low + (high - low) * drawn[2::2]) * rows * columns
    ratios = narrow * (wide / narrow) ** drawn[3::2]
    for area, ratio in zip(areas, ratios, strict=True):
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = int(drawn[0] * (rows - height + 1)), int(drawn[1] * (columns - width + 1))
            return top, left, height, width
    ratio = min(max(columns / rows, narrow), wide)
    height, width = min(rows, round(columns / ratio)), min(columns, round(rows * ratio))
    return (rows - height) // 2, (columns - width) // 2, height, width


def augmented(
    images: UInt8[Tensor, "b c h w"], augment: Augment, into: Frame, address: Address
) -> UInt8[Tensor, "b c h w"]:
    """Do everything but the crop to a batch, which may be written over."""
    if augment.hflip:
        for row in np.flatnonzero(address.uniforms(Stream.FLIP, 1)[:, 0] < augment.hflip):
            images[row] = images[row].flip(-1)
    if augment.rand_augment:
        images = rand_augment(images, augment.rand_augment, into, address, augment.interpolation)
    if augment.three_augment:
        images = three_augment(images, address)
    if augment.color_jitter and not augment.rand_augment:
        images = _jitter(images, augment.color_jitter, address)
    if augment.rotate or augment.zoom or augment.shear:
        black = torch.zeros(images.shape[1], dtype=torch.uint8)
        maps = _maps(images, augment, address)
        images = warp(images, maps, fill=black, interpolation="bilinear")
    elif augment.translate:
        images = shift(images, _steps(images, augment.translate, address))
    if augment.erase:
        images = erase(images, augment.erase, into, address)
    return images


def _steps(images: Tensor, translate: float, address: Address) -> np.ndarray:
    """Draw whole pixels for rows and columns, each number within the reach equally likely."""
    reach = np.rint(np.array(images.shape[-2:]) * translate).astype(np.int64)
    drawn = address.uniforms(Stream.AFFINE, 5)[:, :2]
    return np.floor(drawn * (2 * reach + 1)).astype(np.int64) - reach


def _maps(images: Tensor, augment: Augment, address: Address) -> Float64[np.ndarray, "b 2 3"]:
    """Draw maps about the centre: zoom and shear, then rotate, then translate."""
    rows, columns = images.shape[-2:]
    drawn = 2 * address.uniforms(Stream.AFFINE, 5) - 1
    down, across = drawn[:, 0] * augment.translate * rows, drawn[:, 1] * augment.translate * columns
    angle, slant = np.deg2rad(drawn[:, 2] * augment.rotate), np.deg2rad(drawn[:, 3] * augment.shear)
    scale = 1 / (1 + drawn[:, 4] * augment.zoom)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.stack((cos, cos * np.tan(slant) - sin, sin, sin * np.tan(slant) + cos), axis=-1)
    linear = linear.reshape(-1, 2, 2)
    centre = np.array([columns / 2, rows / 2])
    offset = centre - linear @ centre + np.stack((across, down), axis=-1)
    return np.concatenate((linear, offset[..., None]), axis=-1)


def _jitter(images: Tensor, strength: float, address: Address) -> Tensor:
    """Change brightness, contrast and saturation of each picture, in a random order."""
    from torchvision.transforms.v2 import functional as vision

    steps = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)
    drawn = address.uniforms(Stream.JITTER, 6)
    factors = 1 + strength * (2 * drawn[:, :3] - 1)
    for row, order in enumerate(np.argsort(drawn[:, 3:], axis=1)):
        for step in order:
            images[row] = steps[step](images[row], float(factors[row, step]))
    return images
