"""The training report: one page on what a run learnt, where it errs and what it looks at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from patchword.files import write_text
from patchword.pages import confusion, figures, page, pictures
from patchword.pages.confusion import Confusion
from patchword.pages.figures import Chart, Series

__all__ = [
    "Attended",
    "Chart",
    "ClassRow",
    "Coloured",
    "Confusion",
    "Facts",
    "Figure",
    "Filters",
    "Mistake",
    "Report",
    "Scenes",
    "Series",
    "Shown",
    "render_report",
    "write_report",
]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that stands large at the top, already in words."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """How one class fared: recall and precision, 0 to 1, NaN where there is nothing to count."""

    name: str
    count: int
    recall: float
    precision: float
    counted: str = "images"  # what `count` counts
    measures: tuple[tuple[str, float], ...] = ()  # further ones, by name, of all classes alike


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image answered wrongly; confidence is the answer's probability, 0 to 1."""

    picture: UInt8[np.ndarray, "h w c"]
    name: str
    truth: str
    answer: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture of which every place was answered, with the truth and the answer drawn alike."""

    name: str
    score: float  # its own, 0 to 1
    picture: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w 3"]
    answer: UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class Coloured:
    """A class and its colour, as in `#d0a040`."""

    name: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Pictures that were answered place by place; `score` names what they are ranked by."""

    score: str
    reading: str  # a sentence on how they are read
    worst: tuple[Shown, ...]
    best: tuple[Shown, ...]
    legend: tuple[Coloured, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Patch embedding filters as pictures; the caption is one sentence on how to read them."""

    pictures: tuple[UInt8[np.ndarray, "h w c"], ...]
    caption: str


@dataclass(frozen=True, kw_only=True)
class Attended:
    """An image and, per head, how strongly each of its patches was attended to (at least 0)."""

    title: str
    picture: UInt8[np.ndarray, "h w c"]
    maps: Float[np.ndarray, "heads rows cols"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and values under one title: the data found, the settings, the machine."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a training report shows; a part that is empty is left out of the page."""

    title: str
    subtitle: str = ""
    headline: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    curves: tuple[Chart, ...] = ()
    confusion: Confusion | None = None
    per_class: tuple[ClassRow, ...] = ()
    classes: int = 0  # how many there are; rows of some may be left out
    recalls: tuple[Chart, ...] = ()  # precision by recall
    mistakes: tuple[Mistake, ...] = ()
    scenes: Scenes | None = None
    attention: tuple[Attended, ...] = ()
    filters: Filters | None = None
    positions: Float[np.ndarray, "rows cols rows cols"] | None = None  # similarity, -1 to 1
    facts: tuple[Facts, ...] = ()
    config: str = ""  # JSON


def render_report(report: Report) -> str:
    """Return the report as one HTML document that needs no other file and no network."""
    values = {"report": report, "confusion": confusion, "figures": figures, "pictures": pictures}
    return page.render("report.html.j2", values)


def write_report(report: Report, path: Path) -> None:
    """Write the report to `path`, whole or not at all."""
    write_text(path, render_report(report))
