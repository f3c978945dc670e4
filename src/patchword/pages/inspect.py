"""The page of "Look inside": what one model, or two side by side, have learnt and look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from patchword.files import replacing, write_text
from patchword.pages import dots, figures, maps, page, pictures, plates, svg
from patchword.pages.dots import Dots
from patchword.pages.figures import Chart
from patchword.pages.maps import Layer
from patchword.pages.plates import Matrix, Mosaic, Scatter, Sheet, Strip
from patchword.pages.report import Facts, Figure

__all__ = ["Inside", "Panel", "Plate", "Run", "Section", "Viewed", "render_inside", "write_inside"]

Drawn = Chart | Dots | Matrix | Mosaic | Scatter | Sheet | Strip


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A figure of one run; where there is none, a sentence that says why."""

    drawn: Drawn | None = None
    absent: str = ""


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A figure: what it shows and how to read it, and a panel for each run."""

    id: str  # what its files are called after
    title: str
    caption: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Figures that answer one question."""

    id: str
    title: str
    lead: str
    plates: tuple[Plate, ...]

    @property
    def beside(self) -> bool:
        """Whether its figures stand beside one another: charts of a single run."""
        drawn = [panel.drawn for plate in self.plates for panel in plate.panels]
        return len(drawn) == len(self.plates) and all(
            isinstance(each, Chart | Dots) for each in drawn
        )


@dataclass(frozen=True, kw_only=True)
class Viewed:
    """A picture, what is answered of it, and what each layer attends to in it."""

    picture: UInt8[np.ndarray, "h w c"]  # as the model looks at it
    title: str
    answer: str
    brief: str = ""  # the answer, where there is little room
    verdict: str = ""  # as in "wrong", "near miss"
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the models that the page is about, and the pictures that it was shown.

    Attributes:
        name: of the run.
        viewed: the pictures; the first is kept exactly, the others pooled.
        absent: where nothing attends, a sentence that says so.
        remark: on how attention is to be read in this model.
    """

    name: str
    viewed: tuple[Viewed, ...] = ()
    absent: str = ""
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """All that the page shows."""

    title: str
    subtitle: str = ""
    headline: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    runs: tuple[Run, ...]
    sections: tuple[Section, ...] = ()
    facts: tuple[Facts, ...] = ()


def render_inside(inside: Inside) -> str:
    """Return the page as one HTML document that needs no other file and no network."""
    values = {
        "inside": inside,
        "views": [view(run) for run in inside.runs],
        "kind": lambda drawn: type(drawn).__name__.lower(),
        "dots": dots,
        "figures": figures,
        "pictures": pictures,
        "plates": plates,
        "svg": svg,
    }
    return page.render("inspect.html.j2", values)


def view(run: Run) -> dict[str, Any]:
    """Return what the page's script is given of a run, as JSON values."""
    found: list[dict[str, Any]] = []
    for viewed in run.viewed if any(each.layers for each in run.viewed) else ():
        whole = not found
        layers, exact = maps.packed(viewed.layers) if whole else ([], False)
        drawn = pictures.embed(viewed.picture)
        found.append(
            {
                "title": viewed.title,
                "answer": viewed.answer,
                "verdict": viewed.verdict,
                "picture": drawn.uri,
                "width": drawn.width,
                "height": drawn.height,
                "sharp": drawn.exact,
                "exact": exact,
                "layers": layers if whole else maps.packed_small(viewed.layers),
            }
        )
    return {"name": run.name, "pictures": found}


def write_inside(inside: Inside, path: Path) -> dict[str, Path]:
    """Write the page to `path`, and each figure into a folder of the page's name beside it.

    Returns:
        the figures' files by name.
    """
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for plate in (plate for section in inside.sections for plate in section.plates):
        for place, panel in enumerate(plate.panels):
            if panel.drawn is None:
                continue
            name = plate.id if place == 0 else f"{plate.id}-against"
            which = f", {inside.runs[place].name}" if len(plate.panels) > 1 else ""
            found[name] = write_figure(panel.drawn, f"{plate.title}{which}", folder / name)
    write_text(path, render_inside(inside))
    return found


def write_figure(drawn: Drawn, title: str, stem: Path) -> Path:
    """Write a figure into a file of its own: charts and points as SVG, pictures as PNG."""
    text = svg.as_svg(drawn, title)
    if text:
        write_text(path := stem.with_suffix(".svg"), text)
        return path
    assert not isinstance(drawn, Chart | Dots | Scatter)
    path = stem.with_suffix(".png")
    with replacing(path) as part:
        part.write_bytes(plates.as_png(drawn))
    return path
