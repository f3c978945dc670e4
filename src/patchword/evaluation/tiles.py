"""Scores of every pixel of pictures of any size: seen whole, in windows, or at several scales.

`Look` is any function from pictures to scores; a map of scores that is smaller than its pictures is
resized to them, as the field's heads want it. Window positions and averages are those of
mmsegmentation (`slide_inference`, test-time augmentation), as SETR, Segmenter and SegFormer report.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
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
    """Look through windows; a pixel's scores are the mean over the windows that it is in."""
    return torch.cat([scores for _, scores in sliding(look, images, windows)], dim=2)


def sliding(look: Look, images: Images, windows: Windows) -> Iterator[tuple[slice, Scores]]:
    """Look through windows, and let go of rows as soon as no window is left that sees them.

    One window is looked at a time, and added up where it belongs, so no more is held than the rows
    of one window over the picture's whole width.

    Yields:
        rows that are settled, and their scores.
    """
    rows, columns = images.shape[-2:]
    total, counts, top = images.new_zeros(0), images.new_zeros(0, columns), 0
    for down, across in windows.places(rows, columns):
        if down.start > top:
            settled = down.start - top
            yield slice(top, down.start), total[:, :, :settled] / counts[:settled]
            total, counts, top = total[:, :, settled:], counts[settled:], down.start
        scores = whole(look, images[:, :, down, across])
        if not total.numel():
            total = scores.new_zeros(*scores.shape[:2], 0, columns)
        missing = down.stop - top - len(counts)
        if missing > 0:
            total, counts = F.pad(total, (0, 0, 0, missing)), F.pad(counts, (0, 0, 0, missing))
        inside = slice(down.start - top, down.stop - top)
        total[:, :, inside, across] += scores
        counts[inside, across] += 1
    yield slice(top, rows), total / counts


def probabilities(scores: Scores) -> Scores:
    """Return the probability of each class."""
    return scores.softmax(dim=1)


def several(
    look: Look,
    images: Images,
    scales: Sequence[float],
    *,
    size: Size,
    flip: bool = True,
    averaged: Callable[[Scores], Scores] = probabilities,
) -> Scores:
    """Look at pictures at several scales; return the mean of the probabilities.

    Args:
        look: at pictures of any size, as `slide` does.
        images: as they are at scale 1.
        scales: of the sides, to whole pixels.
        size: that the probabilities are wanted at: the label's own.
        flip: look at the mirror image of each, too.
        averaged: makes of the scores of a look what the mean is of.

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
            shares = averaged(resized(scores, size))
            shares = shares.flip(-1) if mirrored else shares
            total = shares if total is None else total.add_(shares)
    assert total is not None
    return total.div_(len(scales) * (2 if flip else 1))


def resized(maps: Float[Tensor, "b c h w"], size: Size) -> Float[Tensor, "b c H W"]:
    """Resize bilinearly, corners not aligned; the same size leaves the values alone."""
    if (maps.shape[-2], maps.shape[-1]) == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def bands(
    scores: Scores, size: Size, *, values: int = 1 << 24
) -> Iterator[tuple[slice, Float[Tensor, "b classes rows columns"]]]:
    """Resize scores a few rows at a time, so that no more than these are held.

    Args:
        scores: of pictures.
        size: that they are resized to, as by `resized`.
        values: that a band has at most, or one row's.

    Yields:
        the rows of a band, and its scores.
    """
    rows, columns = size
    high = scores.shape[-2]
    step = max(1, values // (scores.shape[0] * scores.shape[1] * columns))
    for top in range(0, rows, step):
        down = slice(top, min(top + step, rows))
        places = torch.arange(down.start, down.stop, dtype=torch.float64)
        places = ((places + 0.5) * (high / rows) - 0.5).clamp(min=0)
        first = places.floor().long().clamp(max=high - 1)
        share = (places - first)[:, None].to(scores.device, scores.dtype)
        second = (first + 1).clamp(max=high - 1)
        part = scores[:, :, first]
        if rows != high:
            part = part * (1 - share) + scores[:, :, second] * share
        yield down, resized(part, (len(places), columns))


def pick(scores: Scores, size: Size) -> Int64[Tensor, "b rows columns"]:
    """Return each pixel's class at the label's own size; the scores are resized, not they."""
    return torch.cat([part.argmax(dim=1) for _, part in bands(scores, size)], dim=1)
