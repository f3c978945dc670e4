"""TIFFs of many bands: those that the contract names, by tifffile (an extra)."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from patchword.data.flatten import WHITE_IS_ZERO, reach_of, scaled
from patchword.data.pixels import Pixels
from patchword.errors import ImageError, MissingExtra

STRAIGHT = 1  # the orientation of a page that says nothing
BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(file: object) -> bool:
    """Say whether a file begins as a TIFF does."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(4) in BEGINNINGS
    return isinstance(file, bytes | memoryview) and bytes(file[:4]) in BEGINNINGS


class Bands(NamedTuple):
    """What a many-band TIFF says of itself."""

    size: tuple[int, int]  # rows, columns, as stored
    samples: int  # bands
    bits: int
    orientation: int


def describe(file: Path | bytes | memoryview, pixels: Pixels) -> Bands:
    """Read a TIFF's header.

    Raises:
        ImageError: it is no TIFF, is too large, or lacks one of the contract's bands.
        MissingExtra: tifffile is not installed.
    """
    with _opened(file) as tiff:
        return _described(tiff, pixels)


def read_bands(file: Path | bytes | memoryview, pixels: Pixels) -> UInt8[np.ndarray, "c h w"]:
    """Read the contract's bands, as they lie; pages are bands where a page has one only.

    Raises:
        ImageError: as `describe`, or the samples have no stated range.
        MissingExtra: tifffile is not installed.
    """
    wanted = list(pixels.bands or ())
    with _opened(file) as tiff:
        stored = _described(tiff, pixels).bits
        page = tiff.pages[0]
        if page.samplesperpixel == 1:
            values = np.stack([tiff.pages[band].asarray() for band in wanted])
        else:
            values = np.moveaxis(page.asarray(), page.axes.index("S"), 0)[wanted]
        inverted = int(page.photometric) == WHITE_IS_ZERO
    window = pixels.window if stored > 8 else None
    reach = window or reach_of(values.dtype, stored)
    levels = scaled(values, reach, clip=window is not None)
    return 255 - levels if inverted else levels


def _opened(file: Path | bytes | memoryview) -> Any:
    try:
        import tifffile
    except ImportError:
        raise MissingExtra(
            "pixels.bands needs tifffile: install it with pip install 'patchword[tiff]'"
        ) from None
    if not is_tiff(file):
        raise ImageError("is no TIFF; pixels.bands picks the bands of TIFFs only")
    source = file.open("rb") if isinstance(file, Path) else io.BytesIO(file)
    return _Owned(source, tifffile.TiffFile(source))


class _Owned:
    """A TIFF that closes its file."""

    def __init__(self, source: Any, tiff: Any) -> None:
        self.source, self.tiff = source, tiff

    def __enter__(self) -> Any:
        return self.tiff

    def __exit__(self, *reason: object) -> None:
        self.tiff.close()
        self.source.close()


def _described(tiff: Any, pixels: Pixels) -> Bands:
    page = tiff.pages[0]
    count = page.samplesperpixel if page.samplesperpixel > 1 else len(tiff.pages)
    if page.imagedepth > 1 or not 0 < page.imagelength * page.imagewidth <= pixels.max_pixels:
        raise ImageError(
            f"has {page.imagewidth} x {page.imagelength} x {page.imagedepth} pixels, more than "
            f"max_pixels = {pixels.max_pixels}; make it smaller or raise the limit"
        )
    highest = max(pixels.bands or (0,))
    if highest >= count:
        raise ImageError(f"has {count} bands, from 0; wanted: band {highest}")
    tag = page.tags.get("Orientation")
    return Bands(
        (page.imagelength, page.imagewidth),
        count,
        page.bitspersample,
        STRAIGHT if tag is None else int(tag.value),
    )
