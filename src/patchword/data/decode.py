"""The pixel contract: any picture file becomes upright 8-bit grey or RGB, or an `ImageError`.

What is done to a picture follows from its header and the contract, never from its contents: 16-bit
greys are scaled by the range that their container states, floats by the range from 0 to 1, and
pictures that state no range are refused rather than guessed at.
"""

import io
import os
import re
import stat
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from patchword.errors import ImageError

File: TypeAlias = Path | bytes | memoryview | Image.Image


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What every picture is turned into, in training and ever after."""

    channels: Literal[1, 3] = 3  # one: ITU-R 601 luma
    background: tuple[int, int, int] = (255, 255, 255)  # shows where a picture is transparent
    max_pixels: int = 64_000_000  # rows times columns; larger pictures are refused undecoded
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # Pillow's


class Header(NamedTuple):
    """What a picture says of itself before it is decoded."""

    mode: str  # Pillow's
    size: tuple[int, int]  # rows, columns, once upright


_PILLOW = re.compile(r"PIL\.")

ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(file: File, pixels: Pixels, *, name: str = "") -> UInt8[Tensor, "c h w"]:
    """Read one picture: the first frame of several, upright, opaque.

    Args:
        file: a path, an encoded picture, or one that Pillow has opened (which stays as it is).
        pixels: the contract; `formats` does not bind what was opened already.
        name: what an error calls the picture; the path if there is one.

    Raises:
        ImageError: it is missing, broken, too large, of another format, or of no stated range.
    """
    with _opened(file, pixels, name) as image:
        _load(image)
        flat = _flat(image, pixels)
        turn = UPRIGHT.get(_orientation(image))
        values = torch.from_numpy(np.array(flat if turn is None else flat.transpose(turn)))
    return values[None] if pixels.channels == 1 else values.permute(2, 0, 1)


def header(file: File, pixels: Pixels, *, name: str = "") -> Header:
    """Read a picture's mode and size only; arguments and errors are those of `decode`."""
    with _opened(file, pixels, name) as image:
        columns, rows = image.size
        # TIFF sizes are upright already, and a PNG would have to be decoded to know.
        turned = image.format in ("JPEG", "MPO", "WEBP") and _orientation(image) >= 5
        return Header(image.mode, (columns, rows) if turned else (rows, columns))


@contextmanager
def _opened(file: File, pixels: Pixels, name: str) -> Generator[Image.Image]:
    """Open a picture, check its size, and make an `ImageError` of all that goes wrong inside."""
    name = _in_one_line(name or (str(file) if isinstance(file, Path) else "picture"))
    try:
        with _unwarned():
            if isinstance(file, Image.Image):
                yield _of_allowed_size(file, pixels)
            else:
                with Image.open(_readable(file), formats=pixels.formats) as image:
                    yield _of_allowed_size(image, pixels)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        wanted = ", ".join(pixels.formats)
        raise ImageError(f"{name}: is not a picture that can be read; wanted: {wanted}") from None
    except Exception as error:  # decoders raise everything: SyntaxError, struct.error, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = _in_one_line(reason.partition("\n")[0])
        raise ImageError(f"{name}: cannot be read: {reason}; replace or remove it") from None


def _in_one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)


@contextmanager
def _unwarned() -> Generator[None]:
    """Ignore Pillow's warnings, whatever the filters are.

    `catch_warnings` would swap the process's filters under the feet of other threads; one entry
    put in and taken out again leaves theirs alone.
    """
    entry = ("ignore", None, Warning, _PILLOW, 0)
    filters: Any = warnings.filters
    filters.insert(0, entry)
    try:
        yield
    finally:
        if entry in filters:
            filters.remove(entry)


def _readable(file: Path | bytes | memoryview) -> Path | io.BytesIO:
    if not isinstance(file, Path):
        return io.BytesIO(file)
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise ImageError("is not a regular file; remove it")
    return file


def _of_allowed_size(image: Image.Image, pixels: Pixels) -> Image.Image:
    columns, rows = image.size
    if not 0 < rows * columns <= pixels.max_pixels:
        raise ImageError(
            f"has {columns} x {rows} pixels, more than max_pixels = {pixels.max_pixels}; "
            "make it smaller or raise the limit"
        )
    return image


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception:
        # A PNG with no tile left has all its pixels: only what follows them is broken.
        if not isinstance(image, PngImageFile) or image.tile:
            raise


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken metadata is no reason to refuse the pixels
        return 1


def _flat(image: Image.Image, pixels: Pixels) -> Image.Image:
    """Return the picture in mode L or RGB, by the contract's channels."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode == "La":  # premultiplied; Pillow has no direct way from it to RGBA
        image = image.convert("LA")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*pixels.background, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return image.convert("L" if pixels.channels == 1 else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale a deep grey to mode L, or LA where one of its values stands for transparent."""
    values = np.asarray(image)
    white = _white(image)
    low, high = values.min(), values.max()
    if white is None or not (low >= 0 and high <= white):  # NaN is refused too
        raise ImageError(
            f"holds values from {low:g} to {high:g} of no stated range; "
            "scale floats to 0 .. 1 or save it as 16-bit grey: reading it so needs a window"
        )
    grey = Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray((values != transparent).astype(np.uint8) * 255))
    return grey


def _white(image: Image.Image) -> int | None:
    """Return the value that a deep grey's container means by white, if it means one."""
    if image.mode == "F":
        return 1
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
        bits, signed = tags[258][0], tags.get(339, (1,))[0] == 2
        return 2 ** (bits - signed) - 1 if bits <= 16 else None
    return 65535 if image.mode.startswith("I;16") or image.format == "PPM" else None
