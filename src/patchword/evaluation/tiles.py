"""Scores of every pixel of pictures of any size: seen whole, in windows, or at several scales.

`Look` is any function from pictures to scores; a map of scores that is smaller than its pictures is
resized to them, as the field's heads want it. Window positions and averages are those of
mmsegmentation (`slide_inference`, test-time augmentation), as SETR, Segmenter and SegFormer report.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from patchword.errors import ConfigError

Size: TypeAlias = tuple[int, int]  # rows, columns
Images: TypeAlias = Float[Tensor, "b c h w"]
Scores: TypeAlias = Float[Tensor, "b classes H W"]
Look: TypeAlias = Callable[[Images], Scores]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of one size, so many pixels apart; the last of a row or column ends at the border."""

    size: Size
    stride: Size

    def __post_init__(self) -> None:
        if not all(0 < step <= side for step, side in zip(self.stride, self.size, strict=True)):
            raise ConfigError(
                f"windows of {self.size} every {self.stride} pixels leave gaps; wanted: a stride "
                "from 1 to the size"
            )

    def places(self, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
        """Yield the rows and columns of each window; a smaller picture has one, of its own size."""
        for top in _starts(rows, self.size[0], self.stride[0]):
            for left in _starts(columns, self.size[1], self.stride[1]):
                yield (
                    slice(top, min(top + self.size[0], rows)),
                    slice(left, min(left + self.size[1], columns)),
                )


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(length - size, 0)
    return [min(step * stride, last) for step in range(-(-last // stride) + 1)]


def whole(look: Look, images: Images) -> Scores:
    """Look at pictures whole; return scores of their own size."""
    return resized(look(images), (images.shape[-2], images.shape[-1]))


def slide(look: Look, images: Images, windows: Windows) -> Scores:
    """Look through windows; a pixel's scores are the mean over the windows that it is in.

    One window is looked at a time, and added up where it belongs, so no more is held than the sum,
    a count, and one window's scores.
    """
    rows, columns = images.shape[-2:]
    total: Tensor | None = None
    counts = images.new_zeros(rows, columns)
    for down, across in windows.places(rows, columns):
        scores = whole(look, images[:, :, down, across])
        if total is None:
            total = scores.new_zeros(*scores.shape[:2], rows, columns)
        total[:, :, down, across] += scores
        counts[down, across] += 1
    assert total is not None
    return total.div_(counts)


def several(
    look: Look, images: Images, scales: Sequence[float], *, size: Size, flip: bool = True
) -> Scores:
    """Look at pictures at several scales; return the mean of the probabilities.

    Args:
        look: at pictures of any size, as `slide` does.
        images: as they are at scale 1.
        scales: of the sides, to whole pixels.
        size: that the probabilities are wanted at: the label's own.
        flip: look at the mirror image of each, too.

    Raises:
        ConfigError: there is no scale, or one of 0 or less.
    """
    if not scales or min(scales) <= 0:
        raise ConfigError(f"scales is {list(scales)}; wanted: at least one, all above 0")
    rows, columns = images.shape[-2:]
    total: Tensor | None = None
    for scale in scales:
        seen = resized(images, (int(rows * scale + 0.5), int(columns * scale + 0.5)))
        for mirrored in (False, True) if flip else (False,):
            scores = look(seen.flip(-1) if mirrored else seen)
            shares = resized(scores, size).softmax(dim=1)
            shares = shares.flip(-1) if mirrored else shares
            total = shares if total is None else total.add_(shares)
    assert total is not None
    return total.div_(len(scales) * (2 if flip else 1))


def resized(maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c H W"]:
    """Resize bilinearly, corners not aligned; the same size leaves the values alone."""
    if (maps.shape[-2], maps.shape[-1]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def pick(scores: Scores, size: Size) -> Int64[Tensor, "b rows columns"]:
    """Return each pixel's class at the label's own size; the scores are resized, not they."""
    return resized(scores, size).argmax(dim=1)
