"""What the verbs answer with."""

import json
from dataclasses import dataclass
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
