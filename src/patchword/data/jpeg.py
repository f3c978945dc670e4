"""Plain JPEGs by simplejpeg (an extra), which spares Pillow's copies; all others are Pillow's."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from patchword.data.pixels import Pixels
from patchword.data.profile import kind_of
from patchword.errors import MissingExtra


def decode_jpeg(image: Image.Image, pixels: Pixels) -> UInt8[np.ndarray, "h w c"] | None:
    """Decode a JPEG that Pillow has opened but not loaded, with Pillow's own DCT and upsampling.

    Returns:
        the pixels; None where the picture is not plain, or where simplejpeg refuses it: Pillow,
        the oracle, decides about those.

    Raises:
        MissingExtra: simplejpeg is not installed.
    """
    try:
        import simplejpeg
    except ImportError:
        raise MissingExtra(
            "pixels.decoder=simplejpeg needs simplejpeg: install it with pip install "
            "'patchword[simplejpeg]'"
        ) from None
    if not _is_plain(image, pixels):
        return None
    file: Any = getattr(image, "fp")  # noqa: B009  # of image files only
    file.seek(0)
    columns, rows = image.size  # which `shrink` may have made smaller
    try:
        return simplejpeg.decode_jpeg(
            file.read(),
            "GRAY" if pixels.channels == 1 else "RGB",
            fastdct=False,
            fastupsample=False,
            min_height=rows,
            min_width=columns,
        )
    except ValueError:
        return None


def _is_plain(image: Image.Image, pixels: Pixels) -> bool:
    """Say whether a picture is a baseline JPEG with nothing to convert.

    A progressive one may take very long; only Pillow's reading can be stopped.
    """
    converted = pixels.profile == "srgb" and bool(image.info.get("icc_profile"))
    return (
        image.format == "JPEG"
        and image.mode in (("L",) if pixels.channels == 1 else ("L", "RGB"))
        and "progressive" not in image.info
        and not (converted and kind_of(image) == "other")
    )
