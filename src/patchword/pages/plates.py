"""Figures made of pictures and numbers: sheets, mosaics, strips, matrices, and points on a plane.

A page draws each as HTML; `as_png` draws it alone, with its words, for slides and papers.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from patchword.errors import ConfigError
from patchword.pages.pictures import DIVERGING, HEAT, colour

SEQUENTIAL = ("#f4f1ea", "#8fb3d9", "#1c4a80")  # nothing, half, most
CELL, PAD, WORDS = 132, 8, 15  # pixels: a picture's side, a gap, the height of letters
THUMB = 96  # pixels a side of a point's picture
INK, QUIET, PAPER = "#1d2126", "#5d646d", "#ffffff"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the ends of a scale of colours mean."""

    low: str
    high: str
    colours: tuple[str, ...] = DIVERGING


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One picture that is a figure."""

    pixels: UInt8[np.ndarray, "h w c"]
    alt: str
    scale: Scale | None = None
    smooth: bool = True


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """Small pictures of equal rank, in order."""

    pictures: tuple[UInt8[np.ndarray, "_ _ _"], ...]
    alt: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a strip: what it is, what is remarked, and a picture and words for each column."""

    title: str
    note: str = ""
    wrong: bool = False
    pictures: tuple[UInt8[np.ndarray, "_ _ _"], ...]
    words: tuple[str, ...] = ()  # below each picture


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures in rows and columns; a row may end early."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            count = len(row.pictures)
            if count > len(self.columns) or len(row.words) not in (0, count):
                raise ConfigError(
                    f"row {row.title!r} has {len(row.pictures)} pictures, and words for "
                    f"{len(row.words)}, in {len(self.columns)} columns"
                )


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Numbers in rows and columns, coloured; `low` and `high` are the ends of the colours."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float[np.ndarray, "rows columns"]
    low: float = 0.0
    high: float = 1.0
    colours: tuple[str, ...] = SEQUENTIAL

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.rows), len(self.columns)):
            raise ConfigError(
                f"{self.values.shape[0]} by {self.values.shape[1]} values are named by "
                f"{len(self.rows)} rows and {len(self.columns)} columns"
            )

    def shares(self) -> Float[np.ndarray, "rows columns"]:
        """Return where each value lies between the ends, 0 to 1."""
        return np.clip((self.values - self.low) / max(self.high - self.low, 1e-12), 0, 1)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A picture's place on a plane."""

    x: float
    y: float
    group: int  # a class by index
    title: str
    wrong: bool = False
    picture: UInt8[np.ndarray, "h w c"] | None = None  # shown where it is picked


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Points on a plane, coloured by group; axes have no unit."""

    points: tuple[Point, ...]
    groups: tuple[str, ...]


def overlaid(
    picture: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "high wide 3"]:
    """Draw how strongly each place of a picture is meant over a grey copy of it."""
    levels = np.clip(np.nan_to_num(heat, posinf=0, neginf=0), 0, None)
    glow = Image.fromarray(colour(levels / max(float(levels.max()), 1e-12), HEAT))
    below = Image.fromarray(rgb(picture)).convert("L").convert("RGBA")
    side = max(CELL // max(below.size), 1)  # small pictures are shown large, place by place
    below = below.resize((below.width * side, below.height * side), Image.Resampling.NEAREST)
    glow = glow.resize(below.size, Image.Resampling.NEAREST)
    return np.asarray(Image.alpha_composite(below, glow).convert("RGB"))


def rgb(picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture in three colours: one or two channels as grey, of more the first three."""
    three = picture[..., :3] if picture.shape[2] >= 3 else picture[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(three)


def as_png(drawn: Sheet | Mosaic | Strip | Matrix) -> bytes:
    """Draw a figure alone, on white, with its words."""
    match drawn:
        case Sheet():
            image = _on_white(Image.fromarray(np.ascontiguousarray(drawn.pixels)))
        case Mosaic():
            count = math.ceil(math.sqrt(2 * len(drawn.pictures)))
            rows = [drawn.pictures[i : i + count] for i in range(0, len(drawn.pictures), count)]
            image = _table([], [("", "", tuple(row), ()) for row in rows], cell=64)
        case Strip():
            rows = [(r.title, r.note, r.pictures, r.words) for r in drawn.rows]
            image = _table(list(drawn.columns), rows, cell=CELL)
        case Matrix():
            image = _matrix(drawn)
    data = io.BytesIO()
    image.save(data, "png", optimize=True)
    return data.getvalue()


def _table(
    columns: list[str],
    rows: list[tuple[str, str, tuple[np.ndarray, ...], tuple[str, ...]]],
    cell: int,
) -> Image.Image:
    font = ImageFont.load_default(WORDS)
    titles = [w for title, note, _, _ in rows for w in (title, note) if w]
    left = max((math.ceil(font.getlength(w)) + 2 * PAD for w in titles), default=0)
    below = WORDS + PAD if any(words for *_, words in rows) else 0
    top = WORDS + PAD if columns else 0
    wide = max((len(pictures) for _, _, pictures, _ in rows), default=0)
    image = Image.new(
        "RGB", (left + wide * (cell + PAD), top + len(rows) * (cell + PAD + below)), PAPER
    )
    draw = ImageDraw.Draw(image)
    for i, name in enumerate(columns):
        draw.text((left + i * (cell + PAD), 0), _cut(name, font, cell), INK, font)
    for j, (title, note, pictures, words) in enumerate(rows):
        y = top + j * (cell + PAD + below)
        draw.text((0, y + PAD), title, INK, font)
        draw.text((0, y + PAD + WORDS + 4), note, QUIET, font)
        for i, picture in enumerate(pictures):
            x = left + i * (cell + PAD)
            small = max(picture.shape[:2]) < cell
            how = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
            share = cell / max(picture.shape[:2])
            size = (round(picture.shape[1] * share), round(picture.shape[0] * share))
            image.paste(Image.fromarray(rgb(picture)).resize(size, how), (x, y))
            if words:
                draw.text((x, y + cell + 2), _cut(words[i], font, cell), QUIET, font)
    return image


def _matrix(drawn: Matrix) -> Image.Image:
    font, cell = ImageFont.load_default(WORDS), 44
    left = max(math.ceil(font.getlength(name)) for name in drawn.rows) + 2 * PAD
    high = max(math.ceil(font.getlength(name)) for name in drawn.columns) + 2 * PAD
    size = (left + cell * len(drawn.columns) + PAD, high + cell * len(drawn.rows) + PAD)
    image = Image.new("RGB", size, PAPER)
    draw, shares = ImageDraw.Draw(image), drawn.shares()
    colours = colour(shares, drawn.colours)[..., :3]
    for i, name in enumerate(drawn.columns):
        word = Image.new("RGB", (high - PAD, WORDS + 4), PAPER)
        ImageDraw.Draw(word).text((0, 0), name, INK, font)
        image.paste(word.rotate(90, expand=True), (left + i * cell + cell // 2 - WORDS // 2, 0))
    for j, name in enumerate(drawn.rows):
        y = high + j * cell
        draw.text((left - PAD - font.getlength(name), y + cell // 2 - WORDS // 2), name, INK, font)
        for i, value in enumerate(drawn.values[j].tolist()):
            x = left + i * cell
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), tuple(colours[j, i].tolist()))
            ink = PAPER if colours[j, i].mean() < 140 else INK
            draw.text((x + 5, y + cell // 2 - WORDS // 2), f"{value:.2f}", ink, font)
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGBA", image.size, PAPER)
    return Image.alpha_composite(paper, image).convert("RGB")


def _cut(words: str, font: "ImageFont.ImageFont | ImageFont.FreeTypeFont", width: int) -> str:
    while words and font.getlength(words) > width:
        words = words[:-2] + "…" if len(words) > 2 else ""
    return words
