"""What measures answer with, drawn: tensors and tables that a notebook shows as pictures.

What is computed from such a tensor is a plain one.
"""

import re
from collections import Counter
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchword.pages.dots import Dots, Step
from patchword.pages.figures import Chart
from patchword.pages.pictures import DIVERGING, colour, position_tiles
from patchword.pages.plates import Matrix, Mosaic, Row, Scale, Sheet, Strip, as_png
from patchword.pages.svg import as_svg

Figure = Chart | Dots | Matrix | Mosaic | Sheet | Strip
D = TypeVar("D", bound="Drawing")

ROWS = 16  # of a strip
HEADS = 8  # of a row of biases
GLOW = ("#0d0f14", "#d9541e", "#ffcf4f")  # nothing, half, most


class Drawn:
    """Something that a notebook draws."""

    def figure(self) -> Figure:
        """Return what is drawn."""
        raise NotImplementedError

    def _repr_svg_(self) -> str | None:
        return as_svg(self.figure(), "") or None

    def _repr_png_(self) -> bytes | None:
        figure = self.figure()
        return None if isinstance(figure, Chart | Dots) else as_png(figure)


class Drawing(Drawn, Tensor):
    """A tensor that is a figure."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType, reportPrivateUsage]

    @property
    def numbers(self) -> Float[np.ndarray, "..."]:
        """The values, for drawing."""
        return self.detach().float().cpu().numpy()


def drawn(kind: type[D], values: Tensor) -> D:
    """Return a tensor, not copied, as one that draws itself."""
    return values.as_subclass(kind)


class Heat(Drawing):
    """Maps of cells, `b rows columns` or `b heads rows columns`: each relative to its brightest."""

    def figure(self) -> Strip:
        """Return a row for each image, and a column for each head."""
        maps = self.numbers if self.ndim == 4 else self.numbers[:, None]
        heads = maps.shape[1]
        names = tuple(f"head {i + 1}" for i in range(heads)) if heads > 1 else ("",)
        rows = [Row(title=f"image {i + 1}", pictures=glowing(e)) for i, e in enumerate(maps)]
        return Strip(columns=names, rows=tuple(rows[:ROWS]))


class Colours(Drawing):
    """Cells in coordinates from 0 to 1, `b count rows columns`: the first three as colours."""

    def figure(self) -> Mosaic:
        """Return a picture for each image."""
        three = np.moveaxis(255 * self.numbers[:, :3], 1, -1).round().astype(np.uint8)
        return Mosaic(pictures=tuple(three), alt="Image")


class Patterns(Drawing):
    """Filters, `count channels rows columns`: each from its own least to its greatest."""

    def figure(self) -> Mosaic:
        """Return a picture for each filter; of two or of more than three channels, their mean."""
        found = self.numbers if self.shape[1] in (1, 3) else self.numbers.mean(1, keepdims=True)
        most = np.abs(found).max(axis=(1, 2, 3), keepdims=True).clip(min=1e-12)
        pictures = np.moveaxis(127.5 + 127.5 * found / most, 1, -1).round().astype(np.uint8)
        return Mosaic(pictures=tuple(pictures), alt="Filter")


class GridOfGrids(Drawing):
    """How alike each cell is to each, from -1 to 1, `rows columns rows columns`."""

    def figure(self) -> Sheet:
        """Return a tile for each cell, or for evenly spaced ones of many."""
        pixels, ends = position_tiles(self.numbers), Scale(low="-1", high="1")
        return Sheet(pixels=pixels, alt="Similarity of position embeddings", scale=ends)


class Alike(Drawing):
    """How alike each level is to each, 0 to 1, `levels others`."""

    def figure(self) -> Matrix:
        """Return the numbers, coloured."""
        rows, columns = (tuple(str(i + 1) for i in range(n)) for n in self.shape)
        return Matrix(rows=rows, columns=columns, values=self.numbers)


class Heads(Drawn, dict[str, Float[Tensor, " heads"]]):
    """A number for each head, by operator's name."""

    unit = "pixels"

    def figure(self) -> Dots:
        """Return a dot for each head, layer by layer."""
        named = zip(titles(list(self)), self.values(), strict=True)
        steps = tuple(Step(title=name, values=tuple(heads.tolist())) for name, heads in named)
        return Dots(x_label="layer", y_label=self.unit, steps=steps)


class Maps(Drawn, dict[str, Float[Tensor, "b heads rows columns"]]):
    """A map for each image and head, of cells or from each token to each, by operator's name."""

    def figure(self) -> Strip:
        """Return the mean of the heads: a row for each image, a column for each layer."""
        layers = [glowing(m.detach().float().mean(1).cpu().numpy()) for m in self.values()]
        rows = [
            Row(title=f"image {i + 1}", pictures=pictures)
            for i, pictures in enumerate(zip(*layers, strict=True))
        ]
        return Strip(columns=tuple(titles(list(self))), rows=tuple(rows[:ROWS]))


class Biases(Drawn, dict[str, Float[Tensor, "heads rows columns rows columns"]]):
    """What heads add to their scores, from each cell to each, by operator's name."""

    def figure(self) -> Strip:
        """Return the first heads' biases around the place in the middle, a row for each layer."""
        count = min(HEADS, max((len(heads) for heads in self.values()), default=0))
        named = zip(titles(list(self)), self.values(), strict=True)
        rows = tuple(around(title, heads[:count]) for title, heads in named)
        return Strip(columns=tuple(f"head {i + 1}" for i in range(count)), rows=rows)


def around(title: str, biases: Float[Tensor, "heads r c r c"]) -> Row:
    """Draw the biases of a layer from the place in the middle, on one scale."""
    _, rows, columns, *_ = biases.shape
    middle = biases[:, rows // 2, columns // 2].detach().float().cpu().numpy()
    most = float(np.abs(middle).max())
    tiles = colour((middle / max(most, 1e-12) + 1) / 2, DIVERGING)
    return Row(title=title, note=f"up to {most:.2g}", pictures=tuple(tiles))


def glowing(maps: Float[np.ndarray, "n rows columns"]) -> tuple[np.ndarray, ...]:
    """Colour maps, each relative to its greatest value."""
    most = maps.max(axis=(1, 2), keepdims=True).clip(min=1e-12)
    return tuple(colour(np.clip(maps / most, 0, 1), GLOW)[..., :3])


def titles(names: list[str]) -> list[str]:
    """Say which layer an operator is of: "stage 2, block 1" for "stages.1.blocks.0.attn.attend"."""
    found = [
        ", ".join(f"{kind.removesuffix('s')} {int(i) + 1}" for kind, i in _numbered(name)) or name
        for name in names
    ]
    twice, seen = Counter(found), Counter[str]()
    for i, title in enumerate(found):
        if twice[title] > 1:
            seen[title] += 1
            found[i] = f"{title}, part {seen[title]}"
    return found


def _numbered(name: str) -> list[tuple[str, str]]:
    return [pair for pair in re.findall(r"(\w+)\.(\d+)", name) if pair[0] in ("stages", "blocks")]
