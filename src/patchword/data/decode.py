"""The pixel contract at work: any picture file becomes upright 8-bit pixels, or an `ImageError`.

Files are not trusted: what is too large is refused by its header, decoding stops when it takes too
long, and whatever a decoder raises becomes one line that names the picture.
"""

import io
import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int32, Shaped, UInt8
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from patchword.data.bands import Bands, describe, is_tiff, read_bands
from patchword.data.flatten import bits, flatten, notes
from patchword.data.jpeg import decode_jpeg
from patchword.data.pixels import Pixels as Pixels
from patchword.errors import ImageError, MissingExtra

File: TypeAlias = Path | bytes | memoryview | Image.Image


class Header(NamedTuple):
    """What a picture says of itself before it is decoded, and what the contract makes of it."""

    mode: str  # Pillow's
    size: tuple[int, int]  # rows, columns, once upright
    format: str = ""  # Pillow's name of it; none for pixels that came without a file
    bits: int = 8  # of a sample, as stored
    orientation: int = 1  # EXIF's; 1 is upright
    notes: tuple[str, ...] = ()  # what the contract does to it; the same words for the same thing


_PILLOW = re.compile(r"PIL\.")

ORIENTATION = 0x0112  # the EXIF tag
TURNED = "turned upright, as EXIF says"


def decode(file: File, pixels: Pixels, *, name: str = "") -> UInt8[Tensor, "c h w"]:
    """Read one picture: the first frame of several, upright, opaque.

    Args:
        file: a path, an encoded picture, or one that Pillow has opened (which stays as it is).
        pixels: the contract; `formats` does not bind what was opened already.
        name: what an error calls the picture; the path if there is one.

    Raises:
        ImageError: it is missing, broken, too large, of another format, or of no stated range.
    """
    if pixels.bands is not None and not isinstance(file, Image.Image):
        with _refusing(file, pixels, name):
            found = describe(file, pixels)
            return upright(torch.from_numpy(read_bands(file, pixels)), found.orientation)
    with _opened(file, pixels, name) as image:
        return _decoded(image, pixels, ours=not isinstance(file, Image.Image))


def header(file: File, pixels: Pixels, *, name: str = "") -> Header:
    """Read what a picture's header says, decoding nothing; arguments and errors as `decode`."""
    if pixels.bands is not None and not isinstance(file, Image.Image):
        with _refusing(file, pixels, name):
            return _bands_header(describe(file, pixels), pixels)
    with _opened(file, pixels, name) as image:
        return _header(image, pixels)


def decode_with_header(
    file: File, pixels: Pixels, *, name: str = ""
) -> tuple[Header, UInt8[Tensor, "c h w"]]:
    """Read one picture and what its header says; arguments and errors as `decode`.

    A JPEG or PNG is opened once, unless its metadata follow the pixels.
    """
    if pixels.bands is None and not isinstance(file, Image.Image):
        with _opened(file, pixels, name) as image:
            if image.format in ("JPEG", "PNG"):
                found, said = _header(image, pixels), dict(image.info)
                values = _decoded(image, pixels, ours=True)
                if image.info == said:
                    return found, values
    return header(file, pixels, name=name), decode(file, pixels, name=name)


def _decoded(image: Image.Image, pixels: Pixels, *, ours: bool) -> UInt8[Tensor, "c h w"]:
    """Decode a picture that was opened, by us or by somebody else."""
    if pixels.bands is not None:
        raise ImageError("is open already; give the file, of which bands can be picked")
    if pixels.window and bits(image) > 8 and len(image.getbands()) > 1:
        raise ImageError(
            "has colours of more than 8 bits, which no window can be put to; save it with 8, "
            "or as a TIFF and state pixels.bands"
        )
    if pixels.shrink and image.format == "JPEG" and ours:
        image.draft(None, (pixels.shrink, pixels.shrink))
    fast = decode_jpeg(image, pixels) if pixels.decoder == "simplejpeg" else None
    if fast is None:
        _load(image, pixels)
        fast = np.array(flatten(image, pixels))
    values = torch.from_numpy(fast)
    return upright(values.view(*values.shape[:2], -1).permute(2, 0, 1), _orientation(image))


def _header(image: Image.Image, pixels: Pixels) -> Header:
    tag = _orientation(image, header_only=True)
    columns, rows = image.size
    turned = tag >= 5 and image.format != "TIFF"  # whose size is upright already
    return Header(
        image.mode,
        (columns, rows) if turned else (rows, columns),
        image.format or "",
        bits(image),
        tag,
        (*((TURNED,) if tag > 1 else ()), *notes(image, pixels)),
    )


def decode_map(
    file: File, pixels: Pixels, like: Header, *, name: str = ""
) -> Int32[np.ndarray, "h w"]:
    """Read the values of a map of a picture (classes, ids, depths) as they are stored.

    Greys and palette indices are themselves, colours are R + 256 G + 65536 B. A map that was drawn
    on a picture before it was turned upright is turned with it.

    Args:
        file: the map.
        pixels: the contract, for its limits.
        like: the picture's header.
        name: what an error calls the map.

    Raises:
        ImageError: it cannot be read, or its values are not what was drawn.
    """
    with _opened(file, pixels, name) as image:
        if image.format == "JPEG":
            raise ImageError("is a JPEG, which changes the values of a map; save it as PNG")
        _load(image, pixels)
        values = np.array(image)
    if values.ndim == 3:
        if values.shape[2] == 2:
            values = values[..., 0]
        else:
            values = values[..., :3].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
    if values.dtype.kind not in "iub":
        raise ImageError(f"{name}: holds fractions; wanted: whole numbers, as in a 16-bit PNG")
    values = values.astype(np.int32)
    stored = like.size[::-1] if like.orientation >= 5 else like.size
    if like.orientation >= 5 and values.shape == stored != like.size:
        values = upright(torch.from_numpy(values)[None], like.orientation)[0].numpy()
    return values


def _bands_header(found: Bands, pixels: Pixels) -> Header:
    wanted = ", ".join(map(str, pixels.bands or ()))
    rows, columns = found.size
    size = (columns, rows) if found.orientation >= 5 else (rows, columns)
    said = (f"bands {wanted} of {found.samples} used",)
    turned = (TURNED,) if found.orientation > 1 else ()
    return Header("bands", size, "TIFF", found.bits, found.orientation, (*turned, *said))


def upright(values: Shaped[Tensor, "c h w"], tag: int) -> Shaped[Tensor, "c H W"]:
    """Turn pixels as an EXIF orientation tag says; unknown tags turn nothing."""
    if 5 <= tag <= 8:
        values = values.transpose(-1, -2)
    across, down = tag in (2, 3, 6, 7), tag in (3, 4, 7, 8)
    if not across and not down:
        return values
    return values.flip([axis for axis, turned in ((-1, across), (-2, down)) if turned])


@contextmanager
def _opened(file: File, pixels: Pixels, name: str) -> Generator[Image.Image]:
    """Open a picture and check its size."""
    with _refusing(file, pixels, name):
        if isinstance(file, Image.Image):
            yield _of_allowed_size(file, pixels)
        else:
            with Image.open(_readable(file), formats=pixels.formats) as image:
                yield _of_allowed_size(image, pixels)


@contextmanager
def _refusing(file: File, pixels: Pixels, name: str) -> Generator[None]:
    """Make an `ImageError` of all that goes wrong inside."""
    name = _in_one_line(name or (str(file) if isinstance(file, Path) else "picture"))
    try:
        with _unwarned():
            yield
    except MissingExtra:
        raise
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        bands = "; state pixels.bands if it has more than four" if is_tiff(file) else ""
        wanted = ", ".join(pixels.formats)
        raise ImageError(
            f"{name}: is not a picture that can be read; wanted: {wanted}{bands}"
        ) from None
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


class _Timed:
    """A file whose every reading is a look at the clock: decoders read in blocks.

    The clock is the thread's processor time, which a busy machine does not run down.
    """

    def __init__(self, file: Any, seconds: float) -> None:
        self.file, self.seconds = file, seconds
        self.end = time.thread_time() + seconds

    def read(self, size: int = -1, /) -> bytes:
        if time.thread_time() > self.end:
            raise ImageError(
                f"takes more than max_seconds = {self.seconds:g} to decode; replace or remove it"
            )
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _load(image: Any, pixels: Pixels) -> None:
    if getattr(image, "fp", None) is not None:
        image.fp = _Timed(image.fp, pixels.max_seconds)
    if isinstance(image, PngImageFile):
        image.load_end = partial(_tolerated, image.load_end)
    image.load()


def _tolerated(read_end: Callable[[], None]) -> None:
    """Read what follows a PNG's pixels; where that is broken, the pixels are whole all the same."""
    with suppress(Exception):
        read_end()


def _orientation(image: Image.Image, *, header_only: bool = False) -> int:
    """Return the EXIF orientation; a PNG's, by the header alone, if it stands before the pixels."""
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        tag = int(exif.get(ORIENTATION, 1))
    except Exception:  # broken metadata is no reason to refuse the pixels
        return 1
    return tag if 1 <= tag <= 8 else 1
