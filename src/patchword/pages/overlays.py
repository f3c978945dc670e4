"""Answers place by place in colours: classes, segments and boxes over a picture; depths."""

import colorsys
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from patchword.pages.pictures import SCENE, colour

UNKNOWN = 255  # the class of pixels that have none
GOLDEN = 0.618034  # turns of hue from one class to the next, so that neighbours differ
TONES = ((0.75, 0.95), (0.55, 0.75), (0.95, 0.6))  # saturation and value, class by class
SHADES = (0.7, 1.0)  # of a class's colour, from one segment to the next
NEARNESS = ("#1b1035", "#7b2382", "#e35b59", "#fcf3b2")  # far to near
EDGES = (2, 98)  # percentiles of nearness between which colours spread
LINE, LETTERS, LEAST = 240, 45, 10  # a picture's longer side by a line's width and by the height of
# letters, and the least of that in pixels
WORTH = 0.01  # share of a picture from which a segment is named,
LARGER = 1.5  # and both so many times larger on a picture that is reduced
LIGHT = 140  # level from which letters on a colour are black

Colours = UInt8[np.ndarray, "h w 3"]


@cache
def palette() -> UInt8[np.ndarray, "256 3"]:
    """Return the colour of each class; of what has none, black."""
    rows = [
        colorsys.hsv_to_rgb(number * GOLDEN % 1, *TONES[number % len(TONES)])
        for number in range(UNKNOWN)
    ]
    found = np.array([*rows, (0, 0, 0)])
    return (found * 255).round().astype(np.uint8)


def overlay(picture: Colours, mask: UInt8[np.ndarray, "h w"], opacity: float = 0.6) -> Colours:
    """Lay the colours of classes over a picture."""
    return _laid(picture, mask, palette(), opacity)


def _laid(
    picture: Colours,
    numbers: Integer[np.ndarray, "h w"],
    table: UInt8[np.ndarray, "k 3"],
    opacity: float,
) -> Colours:
    blend = np.empty_like(picture)
    for rows in range(0, len(picture), 256):  # a large picture is not held as floats
        part = slice(rows, rows + 256)
        colours = table[numbers[part]].astype(np.float32)
        mixed = picture[part] * (1 - opacity) + colours * opacity
        blend[part] = mixed.round().astype(np.uint8)
    return blend


def segmented(
    picture: Colours,
    ids: Integer[np.ndarray, "h w"],
    labels: Int[np.ndarray, " n"],
    words: Sequence[str] = (),
    opacity: float = 0.6,
    larger: float = 1.0,
) -> Colours:
    """Lay segments over a picture, each in a shade of its class's colour, with white borders.

    Args:
        picture: of any size.
        ids: of each pixel's segment, from 1; 0 where it is in none.
        labels: the class of segment k, at place k - 1.
        words: what is written on each, if anything; on large ones alone.
        opacity: of the colours, from 0 to 1.
        larger: times by which words are larger than on a picture that is seen whole.
    """
    low, high = SHADES
    shades = low + (high - low) * (np.arange(len(labels)) * GOLDEN % 1)
    colours = palette()[labels % UNKNOWN] * shades[:, None]
    table = np.concatenate([np.zeros((1, 3)), colours]).round().astype(np.uint8)
    found = _laid(picture, ids, table, opacity)
    border = np.zeros(ids.shape, bool)
    border[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    border[:-1] |= ids[:-1] != ids[1:]
    found[border] = 255
    image = Image.fromarray(found)
    for k, word in enumerate(words):
        rows, columns = np.nonzero(ids == k + 1)
        if len(rows) >= larger**2 * WORTH * ids.size:
            middle = len(rows) // 2  # a pixel of the segment, whatever its form
            place = (int(columns[middle]), int(rows[middle]))
            _write(image, place, word, table[k + 1], larger=larger)
    return np.asarray(image)


def boxed(
    picture: Colours,
    boxes: Float[np.ndarray, "n 4"],
    labels: Int[np.ndarray, " n"],
    words: Sequence[str] = (),
) -> Colours:
    """Draw boxes on a picture in the colours of their classes, the first ones on top.

    Args:
        picture: of any size.
        boxes: left, top, right, bottom, in its pixels.
        labels: their classes.
        words: what is written at the corner of each, if anything.
    """
    image = Image.fromarray(picture)
    draw, width = ImageDraw.Draw(image), max(1, round(max(image.size) / LINE))
    colours = palette()[labels % UNKNOWN]
    for box, shade in zip(boxes[::-1].tolist(), colours[::-1], strict=True):
        left, top, right, bottom = box
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))
        draw.rectangle(corners, outline=tuple(shade.tolist()), width=width)
    for word, box, shade in [*zip(words, boxes.tolist(), colours, strict=False)][::-1]:
        _write(image, (round(box[0]), round(box[1])), word, shade, above=True)
    return np.asarray(image)


def _write(
    image: Image.Image,
    place: tuple[int, int],
    word: str,
    shade: UInt8[np.ndarray, " 3"],
    *,
    above: bool = False,
    larger: float = 1.0,
) -> None:
    """Write on a ground of a colour: at a place, or above it where there is room."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(LEAST, round(larger * max(image.size) / LETTERS)))
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    wide, high = round(right - left) + 4, round(bottom - top) + 4
    x = min(max(place[0], 0), max(image.width - wide, 0))
    y = min(max(place[1] - high * above, 0), max(image.height - high, 0))
    ink = "black" if shade @ (0.299, 0.587, 0.114) > LIGHT else "white"
    draw.rectangle((x, y, x + wide, y + high), fill=tuple(shade.tolist()))
    draw.text((x + 2 - left, y + 2 - top), word, fill=ink, font=font)


def thumbnail(picture: Colours) -> UInt8[np.ndarray, "rows columns 3"]:
    """Reduce a picture to the size that a page shows, so that lines on it stay sharp."""
    image = Image.fromarray(picture)
    image.thumbnail((SCENE, SCENE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def coloured_depth(nearness: Float[np.ndarray, "h w"]) -> Colours:
    """Colour inverse depths of any scale; what is not a number is black."""
    known = np.isfinite(nearness)
    found = np.zeros((*nearness.shape, 3), np.uint8)
    if known.any():
        low, high = np.percentile(nearness[known], EDGES)
        shares = (nearness[known] - low) / max(high - low, 1e-12)
        found[known] = colour(shares.clip(0, 1), NEARNESS)[:, :3]
    return found
