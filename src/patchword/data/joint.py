"""Joint augmentation: steps that change a picture and its scene alike, each by addressed draws.

`Joint` says which steps a training takes, done in order; a step draws from a stream of its own, so
turning one on leaves the others alone. SETR's and SegFormer's (mmsegmentation) are `ScaleJitter`,
`ClassCrop`, `Flip`, `Distort`; DETR's are `Flip`, `Sizes`; large-scale jitter (Ghiasi et al. 2021,
arXiv:2012.07177) is `Flip`, `LargeScale`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64

from patchword.data.distort import distorted
from patchword.data.draw import Address, Stream
from patchword.data.frame import Frame, seen_size
from patchword.data.moves import View, cut, mirrored, sized
from patchword.data.scene import VOID
from patchword.errors import ConfigError

Row = Float64[np.ndarray, " k"]


class Step(ABC):
    """One change, a frozen dataclass; what it does is a function of the view and of its draws."""

    stream: ClassVar[Stream]
    draws: ClassVar[int]  # numbers in (0, 1) that it takes

    @abstractmethod
    def __call__(self, view: View, drawn: Row) -> View:
        """Change a view; what was given stays as it is."""


def jointly(view: View, steps: Sequence[Step], address: Address) -> View:
    """Do all steps to one view.

    Args:
        view: a picture and its scene.
        steps: in order.
        address: of this one sample and view.

    Raises:
        ConfigError: two steps draw from one stream.
    """
    streams = [step.stream for step in steps]
    if len(set(streams)) < len(streams):
        twice = next(stream for stream in streams if streams.count(stream) > 1)
        raise ConfigError(f"two steps draw from {twice.name}, and would agree; leave one out")
    for step in steps:
        (drawn,) = address.uniforms(step.stream, step.draws)
        view = step(view, drawn)
    return view


def _whole(drawn: float, low: int, high: int) -> int:
    """Return one of the whole numbers from low to high, both included."""
    return low + int(drawn * (high - low + 1))


def _between(drawn: float, ends: tuple[float, float]) -> float:
    return ends[0] + (ends[1] - ends[0]) * drawn


@dataclass(frozen=True, kw_only=True)
class Flip(Step):
    """Exchange left and right, with a probability."""

    probability: float = 0.5
    stream: ClassVar[Stream] = Stream.FLIP
    draws: ClassVar[int] = 1

    def __call__(self, view: View, drawn: Row) -> View:
        return mirrored(view) if drawn[0] < self.probability else view


@dataclass(frozen=True, kw_only=True)
class ScaleJitter(Step):
    """Fit the picture into a rectangle, either way up, that is scaled at random; keep its shape."""

    into: tuple[int, int] | None = (2048, 512)  # longer and shorter side; None: the picture's own
    ratio: tuple[float, float] = (0.5, 2.0)
    stream: ClassVar[Stream] = Stream.JITTER_SCALE
    draws: ClassVar[int] = 1

    def __call__(self, view: View, drawn: Row) -> View:
        ratio = _between(drawn[0], self.ratio)
        into = self.into or view.size
        longer, shorter = (max(1, int(side * ratio)) for side in (max(into), min(into)))
        return sized(view, seen_size(*view.size, (longer, shorter)))


@dataclass(frozen=True, kw_only=True)
class ClassCrop(Step):
    """Cut a window in which no class has more than its share; of a smaller picture, fill it up.

    As mmsegmentation, the eleventh place drawn is taken whatever is there; pictures without a mask
    take the first.
    """

    size: tuple[int, int]
    largest: float = 0.75  # share of the known pixels that one class may have
    fill: tuple[int, ...] = (0,)  # the colour beyond the picture, at the right and below
    stream: ClassVar[Stream] = Stream.SCENE_CROP
    draws: ClassVar[int] = 22

    def __call__(self, view: View, drawn: Row) -> View:
        spare = [max(side - wanted, 0) for side, wanted in zip(view.size, self.size, strict=True)]
        top = left = 0
        for down, across in drawn.reshape(-1, 2):
            top, left = _whole(down, 0, spare[0]), _whole(across, 0, spare[1])
            if view.scene.mask is None or self._varied(view.scene.mask, top, left):
                break
        return cut(view, top, left, self.size, self.fill)

    def _varied(self, mask: torch.Tensor, top: int, left: int) -> bool:
        part = mask[top : top + self.size[0], left : left + self.size[1]]
        counts = part.flatten().long().bincount(minlength=VOID + 1)[:VOID]
        return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < self.largest)


@dataclass(frozen=True, kw_only=True)
class Part(Step):
    """Cut a part out of the picture, half of the time; of what size does not depend on its own."""

    shares: tuple[float, float] = (0.5, 1.0)  # of the picture's sides, each drawn by itself
    stream: ClassVar[Stream] = Stream.SCENE_PART
    draws: ClassVar[int] = 5

    def __call__(self, view: View, drawn: Row) -> View:
        if drawn[0] >= 0.5:
            return view
        rows, columns = (
            max(1, round(side * _between(draw, self.shares)))
            for draw, side in zip(drawn[1:3], view.size, strict=True)
        )
        top = _whole(drawn[3], 0, view.size[0] - rows)
        left = _whole(drawn[4], 0, view.size[1] - columns)
        return cut(view, top, left, (rows, columns))


@dataclass(frozen=True, kw_only=True)
class Sizes(Step):
    """Resize the shorter side to one of several sizes, half of the time after a crop, as DETR."""

    shorter: tuple[int, ...] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    longest: int = 1333
    before: tuple[int, ...] = (400, 500, 600)  # the shorter side before a crop
    window: tuple[int, int] = (384, 600)  # smallest and largest side of a crop
    stream: ClassVar[Stream] = Stream.SCENE_SIZES
    draws: ClassVar[int] = 7

    def __call__(self, view: View, drawn: Row) -> View:
        if drawn[0] >= 0.5:
            before = self.before[int(drawn[1] * len(self.before))]
            view = sized(view, shorter_side(view.size, before))
            rows, columns = (
                _whole(draw, min(self.window[0], side), min(self.window[1], side))
                for draw, side in zip(drawn[2:4], view.size, strict=True)
            )
            top = _whole(drawn[4], 0, view.size[0] - rows)
            left = _whole(drawn[5], 0, view.size[1] - columns)
            view = cut(view, top, left, (rows, columns))
        chosen = self.shorter[int(drawn[6] * len(self.shorter))]
        return sized(view, shorter_side(view.size, chosen, self.longest))


def shorter_side(size: tuple[int, int], wanted: int, longest: int | None = None) -> tuple[int, int]:
    """Return the size at which the shorter side is as wanted, or the longer one at its most.

    The roundings are DETR's: the limit to the nearest pixel, the longer side down.
    """
    short, long = min(size), max(size)
    if longest is not None and long / short * wanted > longest:
        wanted = round(longest * short / long)
    if short == wanted:
        return size
    rows, columns = size
    return (
        (int(wanted * rows / columns), wanted)
        if columns < rows
        else (wanted, int(wanted * columns / rows))
    )


@dataclass(frozen=True, kw_only=True)
class LargeScale(Step):
    """Resize by a factor of a wide range and cut or fill up to one size: large-scale jitter."""

    size: tuple[int, int] = (1024, 1024)
    scale: tuple[float, float] = (0.1, 2.0)  # of the size that the picture fits into
    fill: tuple[int, ...] = (128,)
    stream: ClassVar[Stream] = Stream.LARGE_SCALE
    draws: ClassVar[int] = 3

    def __call__(self, view: View, drawn: Row) -> View:
        factor = _between(drawn[0], self.scale)
        fits = min(factor * new / old for new, old in zip(self.size, view.size, strict=True))
        rows, columns = (max(1, round(side * fits)) for side in view.size)
        top = _whole(drawn[1], 0, max(rows - self.size[0], 0))
        left = _whole(drawn[2], 0, max(columns - self.size[1], 0))
        return cut(sized(view, (rows, columns)), top, left, self.size, self.fill)


@dataclass(frozen=True, kw_only=True)
class Distort(Step):
    """Change brightness, contrast, saturation and hue, each half of the time: SSD's distortion."""

    brightness: float = 32.0  # levels up or down
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 36.0  # degrees either way
    stream: ClassVar[Stream] = Stream.DISTORT
    draws: ClassVar[int] = 9

    def __call__(self, view: View, drawn: Row) -> View:
        on, last = drawn[:4] < 0.5, drawn[4] < 0.5  # contrast comes last, or second
        image = distorted(
            view.image,
            brightness=_between(drawn[5], (-self.brightness, self.brightness)) if on[0] else 0.0,
            contrast=_between(drawn[6], self.contrast) if on[1] else 1.0,
            saturation=_between(drawn[7], self.saturation) if on[2] else 1.0,
            hue=_between(drawn[8], (-self.hue, self.hue)) if on[3] else 0.0,
            contrast_last=bool(last),
        )
        return view._replace(image=image)


@dataclass(frozen=True, kw_only=True)
class Joint:
    """What is done to training pictures and to what is known of them, place by place."""

    scale: tuple[float, float] | None = (0.5, 2.0)  # of the sides, beside those of the frame's
    # `within`; None: pictures keep their size
    crop: float | None = 0.75  # share of a window of the frame's size that one class may have;
    # None: no window is cut
    part: tuple[float, float] | None = None  # shares of the sides that are cut out first, half of
    # the time
    flip: float = 0.5  # probability
    distort: Distort | None = Distort()
    sizes: Sizes | None = None  # in the place of scale and crop
    large_scale: tuple[float, float] | None = None  # in their place: of the frame's size

    def __post_init__(self) -> None:
        low, high = self.scale or (1.0, 1.0)
        if not 0 < low <= high:
            raise ConfigError(f"joint.scale is {self.scale}; wanted: (low, high), above 0")
        if not 0 < (self.part or (1, 1))[0] <= (self.part or (1, 1))[1] <= 1:
            raise ConfigError(f"joint.part is {self.part}; wanted: (low, high), shares above 0")
        if not 0 <= self.flip <= 1 or not 0 < (self.crop or 1) <= 1:
            raise ConfigError(
                f"joint.flip is {self.flip}, crop {self.crop}; wanted: a probability, and a share "
                "above 0 or null"
            )
        plain = self.scale is not None or self.crop is not None
        if plain + (self.sizes is not None) + (self.large_scale is not None) > 1:
            raise ConfigError(
                "joint.sizes and joint.large_scale are in the place of scale and crop: set the "
                "others to null"
            )

    def steps(self, into: Frame) -> tuple[Step, ...]:
        """Return the steps for pictures that a model reads as a frame says."""
        colour = tuple(round(255 * mean) for mean in into.mean)
        steps: list[Step | None] = [Flip(probability=self.flip), self.sizes, self.distort]
        if self.large_scale is not None:
            window = LargeScale(size=into.image_size, scale=self.large_scale, fill=colour)
            steps.insert(1, window)
        if self.crop is not None:
            steps.insert(0, ClassCrop(size=into.image_size, largest=self.crop, fill=colour))
        if self.scale is not None:
            steps.insert(0, ScaleJitter(into=into.within, ratio=self.scale))
        if self.part is not None:
            steps.insert(0, Part(shares=self.part))
        return tuple(step for step in steps if step is not None)
