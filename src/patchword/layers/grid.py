"""Token streams (b n d) as maps (b d *grid), and back.

Every such reshape goes through here, so that row-major order is decided once: the n tokens of
a grid are its cells row by row, and prefix tokens stand before them.
"""

from math import prod

from jaxtyping import Float
from torch import Tensor

from patchword.errors import ShapeError

Grid = tuple[int, ...]  # cells along each axis: (rows, columns), (frames, rows, columns), ...


def to_map(x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b d ..."]:
    """Lay the grid's tokens out as a map; prefix tokens are left out."""
    return x[:, x.shape[1] - prod(grid) :].transpose(1, 2).unflatten(2, grid)


def to_tokens(x: Float[Tensor, "b d ..."]) -> Float[Tensor, "b n d"]:
    """Read a map row by row."""
    return x.flatten(2).transpose(1, 2)


def strided(
    size: tuple[int, ...], stride: tuple[int, ...], *, what: str = "image"
) -> tuple[str, Grid]:
    """Return what is wrong with a size that a stride must divide ("" if nothing), and the grid.

    Args:
        size: of the image along each axis, in pixels.
        stride: pixels per cell along each axis.
        what: the word for it in the message.
    """
    grid = tuple(side // step for side, step in zip(size, stride, strict=True))
    if all(side % step == 0 and side for side, step in zip(size, stride, strict=True)):
        return "", grid
    fits = tuple(-(-max(side, 1) // step) * step for side, step in zip(size, stride, strict=True))
    return (
        f"the {what} is {'x'.join(map(str, size))} pixels and its sides must be multiples of "
        f"{'x'.join(map(str, stride))}: resize or pad it to {'x'.join(map(str, fits))}"
    ), grid


def admit(
    images: Float[Tensor, "b c *size"], in_chans: int, size: tuple[int, ...] | None = None
) -> None:
    """Let images through that a network can read.

    Args:
        images: as they come.
        in_chans: how many channels it reads.
        size: the only sides that it reads, in pixels; any if None.

    Raises:
        ShapeError: they are others.
    """
    channels, found = images.shape[1], tuple(images.shape[2:])
    if channels != in_chans:
        raise ShapeError(f"the images have {channels} channels; this model reads {in_chans}")
    if size not in (None, found):
        other, only = ("x".join(map(str, sides)) for sides in (found, size))
        raise ShapeError(f"the images are {other} pixels; this model reads {only}: adapt it")
