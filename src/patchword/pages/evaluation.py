"""The page of an evaluation: each protocol's scores as tables, with what can be drawn of them."""

from dataclasses import dataclass
from pathlib import Path

from patchword.files import write_text
from patchword.pages import figures, page
from patchword.pages.figures import Chart

__all__ = ["Cell", "EvaluationPage", "Grid", "Section", "render_evaluation", "write_evaluation"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number in words; where cells are coloured, by its share from 0 to 1."""

    text: str
    note: str = ""  # its interval
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Numbers in rows and columns; as many cells in a row as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    coloured: bool = False
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one protocol found: tables, charts, notes, and the settings that repeat it."""

    title: str
    lead: str
    grids: tuple[Grid, ...] = ()
    charts: tuple[Chart, ...] = ()
    notes: tuple[str, ...] = ()
    settings: str = ""  # JSON


@dataclass(frozen=True, kw_only=True)
class EvaluationPage:
    """All evaluations of one model."""

    title: str
    subtitle: str = ""
    sections: tuple[Section, ...] = ()


def render_evaluation(shown: EvaluationPage) -> str:
    """Return the page as one HTML document that needs no other file and no network."""
    return page.render("evaluation.html.j2", {"shown": shown, "figures": figures})


def write_evaluation(shown: EvaluationPage, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_text(path, render_evaluation(shown))
