"""Embedded colour profiles: from what a file's numbers mean to sRGB, by littlecms.

Profiles come from strangers: one that is broken, too large, or of another kind of picture is left
out, and the numbers stand as they are.
"""

import io
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

MAX_BYTES = 4 << 20  # of a profile
NEAR = 2  # levels within which a profile counts as sRGB itself
SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}  # ICC's word for a Pillow mode

Kind = Literal["srgb", "other", "unfit"]


class Conversion(NamedTuple):
    """A profile as it was understood."""

    kind: Kind
    transform: Any = None  # ImageCms', from the picture's mode to RGB; of the kind `other` only


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert a picture's colours by its embedded profile.

    Returns:
        in mode RGB, or RGBA where it had transparency; the picture itself where its profile is
        sRGB already or cannot be used.
    """
    from PIL import ImageCms

    found = conversion(image.info["icc_profile"], _colours(image))
    if found.kind != "other":
        return image
    clear = image.has_transparency_data
    alpha = image.convert("RGBA").getchannel("A") if clear else None
    plain = image.convert(_colours(image)) if image.mode != _colours(image) else image
    try:
        converted = ImageCms.applyTransform(plain, found.transform)
    except ImageCms.PyCMSError:
        return image
    assert converted is not None  # it is made anew, not changed in place
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def kind_of(image: Image.Image) -> Kind:
    """Say what a picture's embedded profile is."""
    return conversion(image.info["icc_profile"], _colours(image)).kind


def _colours(image: Image.Image) -> str:
    """Return the mode that a picture's colours have without palette and transparency."""
    if image.mode in ("LA", "La") or image.mode == "F" or image.mode.startswith("I"):
        return "L"
    return image.mode if image.mode in SPACES else "RGB"


@lru_cache(maxsize=32)
def conversion(profile: bytes, mode: str) -> Conversion:
    """Prepare the way from a profile to sRGB, with the intent that the profile asks for."""
    from PIL import ImageCms

    if len(profile) > MAX_BYTES:
        return Conversion("unfit")
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != SPACES[mode]:
            return Conversion("unfit")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent(ImageCms.getDefaultIntent(source)),
        )
        if mode != "CMYK" and _changes_nothing(transform, mode):
            return Conversion("srgb")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return Conversion("unfit")
    return Conversion("other", transform)


def _changes_nothing(transform: Any, mode: str) -> bool:
    from PIL import ImageCms

    steps = np.linspace(0, 255, 256 if mode == "L" else 9).astype(np.uint8)
    if mode == "L":
        before = Image.fromarray(steps[None])
    else:
        cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
        before = Image.fromarray(cube.reshape(1, -1, 3))
    after = ImageCms.applyTransform(before, transform)
    difference = np.asarray(after).astype(int) - np.asarray(before.convert("RGB"))
    return bool(np.abs(difference).max() <= NEAR)
