"""What the verbs answer with."""

import json
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainedRun(PathLike[str]):
    """A run directory that knows itself; it can stand wherever a path can."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def report(self) -> Path:
        """The page about the training."""
        return self.path / "report.html"

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """The scores of each held-out split, shares from 0 to 1."""
        return json.loads((self.path / "scores.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file; `error` where the file cannot be read."""

    file: str
    names: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    values: tuple[float, ...] = ()  # of a regression, by name
    error: str | None = None
    notes: tuple[str, ...] = ()  # what the pixel contract did to the picture
    shares: tuple[float, ...] = ()  # of its pixels, by name, where each was answered
    boxes: tuple[tuple[float, ...], ...] | None = None  # of objects, each with a name and a
    # probability: left, top, right, bottom, in pixels; None where none are looked for
    written: tuple[str, ...] = ()  # files: what was answered place by place, and the overlay


@dataclass(frozen=True)
class Converted:
    """A model in another format: where, as what, and what became of its tensors."""

    path: Path
    model: str
    format: str
    tensors: int
    said: tuple[str, ...]


@dataclass(frozen=True)
class Inherited:
    """Something that a model was made from, and its terms."""

    kind: str  # data, weights, teacher or code
    name: str
    licence: str | None  # as the Hub or the package calls it; None: not known
    said: str  # who says so; or, where it is not known, what to look at
    restricted: bool = False  # to what is not commercial, or to research
    through: str = ""  # the model that had it before


@dataclass(frozen=True)
class Inspected(PathLike[str]):
    """What a model has learnt and looks at: a page, and its figures as files of their own.

    A notebook draws it. It can stand wherever a path can.
    """

    path: Path
    title: str
    figures: dict[str, Path]  # by name: SVG or PNG
    said: dict[str, str]  # what each shows and how it is read, by name

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        """Draw the figures with their sentences, and a link to the page."""
        drawn = [f"<h2>{escape(self.title)}</h2>"]
        for name, path in self.figures.items():
            kind = "svg+xml" if path.suffix == ".svg" else "png"
            data = b64encode(path.read_bytes()).decode()
            said = escape(self.said.get(name.removesuffix("-against"), ""))
            drawn.append(
                f'<figure><img alt="{escape(name)}" style="max-width:100%" '
                f'src="data:image/{kind};base64,{data}"><figcaption>{said}</figcaption></figure>'
            )
        page = escape(str(self.path))
        return "\n".join([*drawn, f'<p>Patch by patch: <a href="{page}">{page}</a></p>'])

    def _repr_png_(self) -> bytes | None:
        """Draw the first figure that is a picture, where HTML is not shown."""
        pictures = [path for path in self.figures.values() if path.suffix == ".png"]
        return pictures[0].read_bytes() if pictures else None
