"""Pictures inside a page: arrays as data URIs, and the colours of heat maps."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

SMALL = 64  # pixels a side up to which a picture is kept exactly and shown pixel by pixel
LARGE = 224  # pixels a side to which a photograph is reduced
SCENE = 448  # and one that is answered place by place
TILES = 16  # positions a side whose similarity to all others is drawn,
TILE = 36  # each at least so many pixels wide or high,
GAP = 2  # and so many clear ones between them
DIVERGING = ("#2166ac", "#f4f1ea", "#c8501e")  # -1, 0, 1
HEAT = ("#0d0f14a6", "#d9541e80", "#ffcf4fd8")  # nothing, half, most: from dimmed to glowing


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a page holds it; width and height are those of the data, in pixels."""

    uri: str
    width: int
    height: int
    exact: bool


def embed(picture: UInt8[np.ndarray, "h w c"], most: int = LARGE) -> Picture:
    """Encode a picture: small ones exactly (PNG), larger ones as photographs.

    One or two channels are shown as grey; of more than three, the first three.

    Args:
        picture: its pixels.
        most: pixels a side that a photograph is reduced to.
    """
    pixels = np.ascontiguousarray(picture[..., 0] if picture.shape[2] < 3 else picture[..., :3])
    image = Image.fromarray(pixels)
    exact = max(image.size) <= SMALL
    if not exact:
        image.thumbnail((most, most), Image.Resampling.LANCZOS)
    uri = _uri(image, "png" if exact else "webp")
    return Picture(uri=uri, width=image.width, height=image.height, exact=exact)


def png(pixels: UInt8[np.ndarray, "h w c"]) -> Picture:
    """Encode red, green, blue, and perhaps opacity, exactly, whatever the size."""
    height, width = pixels.shape[:2]
    uri = _uri(Image.fromarray(np.ascontiguousarray(pixels)), "png")
    return Picture(uri=uri, width=width, height=height, exact=True)


def colour(
    values: Float[np.ndarray, "*shape"], scale: Sequence[str]
) -> UInt8[np.ndarray, "*shape 4"]:
    """Colour values from 0 to 1 along a scale of evenly spaced colours; NaN counts as 0."""
    stops = np.array([_rgba(stop) for stop in scale])
    places = np.linspace(0, 1, len(stops))
    values = np.nan_to_num(values)
    channels = [np.interp(values, places, stops[:, channel]) for channel in range(4)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat(attention: Float[np.ndarray, "rows cols"]) -> Picture:
    """Draw how strongly each place is attended to, from nothing to the highest of this map."""
    levels = np.nan_to_num(attention, posinf=0, neginf=0)
    return png(colour(levels / max(float(levels.max()), 1e-12), HEAT))


def position_sheet(similarity: Float[np.ndarray, "rows cols rows cols"]) -> Picture:
    """Draw one tile per position, set out as the positions are: its similarity to all of them."""
    return png(position_tiles(similarity))


def position_tiles(
    similarity: Float[np.ndarray, "rows cols rows cols"],
) -> UInt8[np.ndarray, "h w 4"]:
    """Return the pixels of `position_sheet`.

    Of a grid with more than `TILES` positions a side, evenly spaced ones are drawn.
    """
    rows, cols = similarity.shape[:2]
    down, across = (np.linspace(0, n - 1, min(n, TILES)).round().astype(int) for n in (rows, cols))
    levels = np.round((similarity[down][:, across] + 1) * 32) / 64  # few colours compress well
    zoom = math.ceil(TILE / max(rows, cols))
    tiles = colour(levels.repeat(zoom, 2).repeat(zoom, 3), DIVERGING)
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)))
    sheet = framed.transpose(0, 2, 1, 3, 4).reshape(len(down) * (rows * zoom + GAP), -1, 4)
    return np.ascontiguousarray(sheet[:-GAP, :-GAP])


def _uri(image: Image.Image, kind: str) -> str:
    data = io.BytesIO()
    image.save(data, kind, quality=80, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def _rgba(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:].ljust(8, "f")))
