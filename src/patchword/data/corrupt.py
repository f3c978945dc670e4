"""Common corruptions: fifteen ways to spoil a picture, in five severities.

Paper      Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
           corruptions and perturbations", arXiv:1903.12261, section 4
Reference  github.com/hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py, for the
           strength of each severity on a picture of 224 x 224
Departures what is random is a function of (seed, kind, severity, picture); lengths in pixels grow
           with the picture's side; the result is not stored as JPEG in between; frost is grown
           here, where the authors paste photographs of it, so its scores are not comparable
"""

import io
import math
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from patchword.data.draw import Stream

Picture: TypeAlias = NDArray[np.float64]  # rows, columns, channels; from 0 to 1
SIDE = 224  # pixels a side that lengths are stated for
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    image: UInt8[Tensor, "c h w"], kind: str, severity: int, *, seed: int, index: int
) -> UInt8[Tensor, "c h w"]:
    """Spoil a picture.

    Args:
        image: of the size that a model looks at.
        kind: one of `CORRUPTIONS`.
        severity: from 1 to 5.
        seed: of what is random.
        index: the picture's number, which what is random depends on.
    """
    address = (seed, Stream.CORRUPT, zlib.crc32(kind.encode()), severity, index)
    draw = Generator(np.random.Philox(np.random.SeedSequence(address)))
    picture = image.permute(1, 2, 0).numpy().astype(np.float64) / 255
    spoilt = CORRUPTIONS[kind](picture, severity - 1, draw)
    pixels = np.rint(spoilt.clip(0, 1) * 255).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def gaussian_noise(x: Picture, level: int, draw: Generator) -> Picture:
    """Add normal noise, as in dim light."""
    return x + draw.normal(size=x.shape, scale=(0.08, 0.12, 0.18, 0.26, 0.38)[level])


def shot_noise(x: Picture, level: int, draw: Generator) -> Picture:
    """Count photons, few of them."""
    photons = (60, 25, 12, 5, 3)[level]
    return draw.poisson(x * photons) / photons


def impulse_noise(x: Picture, level: int, draw: Generator) -> Picture:
    """Turn some values black or white, as bit errors do."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    hit, white = draw.random(x.shape) < share, draw.random(x.shape) < 0.5
    return np.where(hit, white.astype(np.float64), x)


def defocus_blur(x: Picture, level: int, draw: Generator) -> Picture:
    """Blur with a disk, as a lens that is out of focus."""
    from scipy.ndimage import correlate, gaussian_filter

    radius, soft = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[level]
    radius = _length(radius, x)
    reach = math.ceil(radius) + 1
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = gaussian_filter((down**2 + across**2 <= radius**2).astype(np.float64), soft, radius=1)
    return correlate(x, (disk / disk.sum())[..., None], mode="mirror")


def glass_blur(x: Picture, level: int, draw: Generator) -> Picture:
    """Swap pixels with near ones, as frosted glass does, between two blurs."""
    settings = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    sigma, reach, times = settings[level]
    sigma, reach = _length(sigma, x), max(1, round(_length(reach, x)))
    rows, columns, channels = x.shape
    places = list(range(rows * columns))
    for _ in range(times):
        down, across = draw.integers(-reach, reach, (2, rows, columns)).tolist()
        for row in range(rows - reach - 1, reach, -1):
            for column in range(columns - reach - 1, reach, -1):
                here = row * columns + column
                there = here + down[row][column] * columns + across[row][column]
                places[here], places[there] = places[there], places[here]
    swapped = _blurred(x, sigma).reshape(-1, channels)[places].reshape(x.shape)
    return _blurred(swapped, sigma)


def motion_blur(x: Picture, level: int, draw: Generator) -> Picture:
    """Blur along a line, as a camera that moves."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    return _moved(x, _length(radius, x), _length(sigma, x), draw.uniform(-45, 45))


def zoom_blur(x: Picture, level: int, draw: Generator) -> Picture:
    """Average the picture with larger and larger ones, as a camera that nears."""
    stop, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    factors = np.arange(1, stop, step)
    return (x + sum(_zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x: Picture, level: int, draw: Generator) -> Picture:
    """Let streaks of snow fall, and whiten what lies behind."""
    mean, std, zoom, least, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[level]
    flakes = _zoomed(draw.normal(mean, std, (*x.shape[:2], 1)), max(1.0, _length(zoom, x)))
    flakes = np.where(flakes < least, 0, flakes).clip(0, 1)
    flakes = _moved(flakes, _length(radius, x), _length(sigma, x), draw.uniform(-135, -45))
    white = np.maximum(x, _grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * white + flakes + flakes[::-1, ::-1]


def frost(x: Picture, level: int, draw: Generator) -> Picture:
    """Lay crystals of ice over the picture: ridges of a fractal, bluish white."""
    kept, ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[level]
    ridges = 1 - np.abs(2 * _plasma(x.shape[:2], 1.7, draw) - 1)
    crystals = (ridges**3)[..., None]
    colour = np.array([0.82, 0.9, 1.0]) if x.shape[2] == 3 else np.array([0.9])
    return kept * x + ice * crystals * colour


def fog(x: Picture, level: int, draw: Generator) -> Picture:
    """Add a fractal haze."""
    much, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[level]
    brightest = x.max()
    haze = much * _plasma(x.shape[:2], decay, draw)[..., None]
    return (x + haze) * brightest / (brightest + much)


def brightness(x: Picture, level: int, draw: Generator) -> Picture:
    """Raise the value of HSV."""
    value = x.max(axis=2, keepdims=True)
    raised = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clip(0, 1)
    return np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised)


def contrast(x: Picture, level: int, draw: Generator) -> Picture:
    """Draw all values towards their channel's mean."""
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[level] + mean


def elastic_transform(x: Picture, level: int, draw: Generator) -> Picture:
    """Stretch and shear, then displace each pixel by a smooth random field."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    settings = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02))
    much, smooth, affine = (244 * part for part in (*settings, (0.12, 0.01, 0.02))[level])
    much, smooth, affine = (_length(part, x) for part in (much, smooth, affine))
    rows, columns = x.shape[:2]
    centre, third = np.array([columns // 2, rows // 2]), min(rows, columns) // 3
    corners = centre + third * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + draw.uniform(-affine, affine, corners.shape)
    back = np.linalg.solve(np.column_stack((moved, np.ones(3))), corners)  # from new to old
    noise = draw.uniform(-1, 1, (2, rows, columns))
    field = [much * gaussian_filter(part, smooth, mode="reflect", truncate=3) for part in noise]
    down, across = np.mgrid[:rows, :columns] + np.stack(field)
    old = np.stack((across, down, np.ones_like(down)), axis=-1) @ back
    places = (old[..., 1], old[..., 0])
    parts = [map_coordinates(part, places, order=1, mode="mirror") for part in x.transpose(2, 0, 1)]
    return np.stack(parts, axis=-1)


def pixelate(x: Picture, level: int, draw: Generator) -> Picture:
    """Shrink the picture and enlarge it again, both by area."""
    from PIL import Image

    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    rows, columns = x.shape[:2]
    small = (max(1, int(columns * share)), max(1, int(rows * share)))
    box = Image.Resampling.BOX
    return _array(_image(x).resize(small, box).resize((columns, rows), box))


def jpeg_compression(x: Picture, level: int, draw: Generator) -> Picture:
    """Store the picture as a JPEG of low quality."""
    from PIL import Image

    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    return _array(Image.open(file))


CORRUPTIONS: dict[str, Callable[[Picture, int, Generator], Picture]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}


def _length(pixels: float | int, x: Picture) -> float:
    """Return a length that is stated for 224 pixels on this picture's shorter side."""
    return pixels * min(x.shape[:2]) / SIDE


def _blurred(x: Picture, sigma: float) -> Picture:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


def _moved(x: Picture, radius: float, sigma: float, angle: float) -> Picture:
    """Average along a line from each pixel, ever less: ImageMagick's motion blur."""
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    turn = math.radians(angle)
    down = np.ceil(steps * math.sin(turn) - 0.5).astype(int)
    across = np.ceil(steps * math.cos(turn) - 0.5).astype(int)
    row, column = np.arange(x.shape[0])[:, None], np.arange(x.shape[1])
    places = [
        ((row + d).clip(0, x.shape[0] - 1), (column + a).clip(0, x.shape[1] - 1))
        for d, a in zip(down, across, strict=True)
    ]
    total = sum(weight * x[place] for weight, place in zip(weights, places, strict=True))
    return np.asarray(total / weights.sum())


def _zoomed(x: Picture, factor: float) -> Picture:
    """Enlarge the middle of a picture to its whole size."""
    from scipy.ndimage import zoom

    rows, columns = x.shape[:2]
    height, width = (math.ceil(side / factor) for side in (rows, columns))
    top, left = (rows - height) // 2, (columns - width) // 2
    middle = x[top : top + height, left : left + width]
    return np.asarray(zoom(middle, (rows / height, columns / width, 1), order=1), np.float64)


def _plasma(shape: tuple[int, ...], decay: float | int, draw: Generator) -> NDArray[np.float64]:
    """Draw a fractal from 0 to 1: diamonds and squares, the noise less by `decay` each time."""
    side = 1 << max(1, math.ceil(math.log2(max(*shape, 2))))
    field = np.zeros((side, side))
    step, rough = side, 100.0
    while step >= 2:
        half = step // 2

        def noisy(total: NDArray[np.float64], rough: float = rough) -> NDArray[np.float64]:
            return total / 4 + rough * draw.uniform(-rough, rough, total.shape)

        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        field[half::step, half::step] = noisy(pairs + np.roll(pairs, -1, axis=1))
        middles, corners = field[half::step, half::step], field[::step, ::step]
        beside = corners + np.roll(corners, -1, axis=1)
        field[::step, half::step] = noisy(middles + np.roll(middles, 1, axis=0) + beside)
        below = corners + np.roll(corners, -1, axis=0)
        field[half::step, ::step] = noisy(middles + np.roll(middles, 1, axis=1) + below)
        step, rough = half, rough / decay
    field -= field.min()
    return (field / field.max())[: shape[0], : shape[1]]


def _grey(x: Picture) -> Picture:
    return x if x.shape[2] == 1 else (x @ np.array([0.299, 0.587, 0.114]))[..., None]


def _image(x: Picture) -> Any:
    from PIL import Image

    pixels = np.rint(x * 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if x.shape[2] == 1 else pixels)


def _array(image: Any) -> Picture:
    pixels = np.asarray(image, dtype=np.float64) / 255
    return pixels[..., None] if pixels.ndim == 2 else pixels
