"""From any picture that Pillow has opened to 8 bits per sample, grey or RGB, opaque.

What is done follows from what the file says of itself and from the contract, never from the
values in it. `notes` says it in words.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from patchword.data.pixels import Pixels
from patchword.data.profile import to_srgb
from patchword.errors import ImageError

BITS, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 339  # TIFF tags
WHITE_IS_ZERO, SIGNED = 0, 2  # of the second and the last
NAMES = {(255, 255, 255): "white", (0, 0, 0): "black"}


def flatten(image: Image.Image, pixels: Pixels) -> Image.Image:
    """Return a loaded picture in mode L or RGB, by the contract's channels.

    Raises:
        ImageError: its samples have no stated range.
    """
    if is_deep(image):
        image = _eight_bits(image, pixels)
    elif image.format == "TIFF" and image.mode == "L" and _tag(image, SAMPLE_FORMAT, 1) == SIGNED:
        image = image.point([level ^ 128 for level in range(256)])
    if image.mode == "La":  # premultiplied; Pillow has no direct way from it to RGBA
        image = image.convert("LA")
    if pixels.profile == "srgb" and image.info.get("icc_profile"):
        image = to_srgb(image)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*pixels.background, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    wanted = "L" if pixels.channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def is_deep(image: Image.Image) -> bool:
    """Say whether a picture has greys of more than 8 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def bits(image: Image.Image) -> int:
    """Return the bits of a sample as stored; before the picture is loaded."""
    if image.format == "TIFF":
        return _tag(image, BITS, 1)
    tiles = getattr(image, "tile", ())
    stored = re.search(r";(\d+)", str(tiles[0][3])) if image.format == "PNG" and tiles else None
    if stored:
        return int(stored[1])
    if (image.format and image.mode == "I") or image.mode.startswith("I;16"):
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(image.mode, 8)


def notes(image: Image.Image, pixels: Pixels) -> Iterator[str]:
    """Say what the contract does to a picture beyond decoding it; before it is loaded."""
    deep = bits(image)
    if is_deep(image):
        reach = pixels.window or _reach(image)
        kind = "floats" if image.mode == "F" else f"{deep}-bit greys"
        said = (
            "have no stated range" if reach is None else "from {:g} to {:g} scaled".format(*reach)
        )
        yield f"{kind} {said}"
    elif deep > 8:
        yield f"{deep}-bit colours cut to their upper 8 bits"
    if image.mode == "CMYK" and not image.info.get("icc_profile"):
        yield "CMYK without a colour profile converted plainly"
    if image.info.get("icc_profile"):
        yield from _profile_notes(image, pixels)
    if image.has_transparency_data:
        name = NAMES.get(pixels.background, str(pixels.background))
        yield f"transparency laid over {name}"
    if getattr(image, "is_animated", False):
        yield f"only the first {'page' if image.format == 'TIFF' else 'frame'} used"
    if image.format == "TIFF" and _tag(image, SAMPLES, 1) > len(image.getbands()):
        yield f"only the first {len(image.getbands())} of {_tag(image, SAMPLES, 1)} bands used"


def _eight_bits(image: Image.Image, pixels: Pixels) -> Image.Image:
    """Scale a deep grey to mode L, or LA where one of its values stands for transparent."""
    values = np.asarray(image)
    reach = pixels.window or _reach(image)
    grey = Image.fromarray(scaled(values, reach, clip=pixels.window is not None))
    if image.format == "TIFF" and _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        grey = ImageChops.invert(grey)
    grey.info.update(image.info)
    transparent = grey.info.pop("transparency", None)
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray((values != transparent).astype(np.uint8) * 255))
    return grey


def scaled(
    values: np.ndarray, reach: tuple[float, float] | None, *, clip: bool
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Scale values to 0 .. 255.

    Args:
        values: of any shape and type.
        reach: what becomes 0 and 255; None refuses.
        clip: values outside are cut, not refused.

    Raises:
        ImageError: the range is not known, values lie outside, or some are no numbers.
    """
    low, high = values.min(), values.max()
    outside = reach is not None and not clip and not reach[0] <= low <= high <= reach[1]
    if reach is None or outside or not low <= high:  # NaN is refused, too
        raise ImageError(
            f"holds values from {low:g} to {high:g} of no stated range: it needs a window, as in "
            "--settings pixels.window=[0,4095]; floats may lie in 0 .. 1 instead"
        )
    black, white = reach
    stretched = (values.astype(np.float64) - black) * (255 / (white - black))
    return np.rint(stretched.clip(0, 255)).astype(np.uint8)


def reach_of(dtype: "np.dtype[Any]", stored: int) -> tuple[float, float] | None:
    """Return what samples of a type mean by black and white, if they mean anything."""
    if dtype.kind == "f":
        return (0.0, 1.0)
    if stored > 16:
        return None
    return (
        (-(2.0 ** (stored - 1)), 2.0 ** (stored - 1) - 1)
        if dtype.kind == "i"
        else (
            0.0,
            2.0**stored - 1,
        )
    )


def _reach(image: Image.Image) -> tuple[float, float] | None:
    """Return what a deep grey's container means by black and white, if it means anything."""
    if image.mode == "F":
        return reach_of(np.dtype(np.float32), 32)
    if image.format == "TIFF":
        signed = _tag(image, SAMPLE_FORMAT, 1) == SIGNED
        return reach_of(np.dtype(np.int16 if signed else np.uint16), _tag(image, BITS, 1))
    deep = image.mode.startswith("I;16") or image.format == "PPM"
    return (0.0, 65535.0) if deep else None


def _profile_notes(image: Image.Image, pixels: Pixels) -> Iterator[str]:
    from patchword.data.profile import kind_of

    if pixels.profile == "ignore":
        yield "a colour profile left out"
    else:
        kind = kind_of(image)
        if kind == "other":
            yield "a colour profile converted to sRGB"
        elif kind == "unfit":
            yield "a colour profile that is broken or does not fit left out"


def _tag(image: Image.Image, number: int, default: int) -> int:
    """Return a TIFF tag's first value."""
    tags: Any = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    value = tags.get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)
