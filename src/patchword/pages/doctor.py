"""The doctor's page: what is in a data set, and what is wrong with which picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from patchword.files import write_text
from patchword.pages import page, pictures
from patchword.pages.report import Facts, Figure

__all__ = ["ClassCounts", "Doctor", "Facts", "Figure", "Kind", "Shown", "render", "write_doctor"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture and what is said of it; none where it cannot be read."""

    picture: UInt8[np.ndarray, "h w c"] | None
    name: str
    label: str
    split: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Findings of a kind, some of them shown; pictures that show the same stand in one group."""

    id: str
    title: str
    lead: str
    count: int  # of pictures, shown or not
    groups: tuple[tuple[Shown, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """A class: how many pictures of it each split has, and what is wrong with that."""

    name: str
    counts: tuple[int, ...]
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """All that the page shows; a part that is empty is left out of it."""

    title: str
    subtitle: str = ""
    headline: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    splits: tuple[str, ...] = ()
    classes: tuple[ClassCounts, ...] = ()
    facts: tuple[Facts, ...] = ()


def render(doctor: Doctor) -> str:
    """Return the page as one HTML document that needs no other file and no network."""
    return page.render("doctor.html.j2", {"doctor": doctor, "pictures": pictures})


def write_doctor(doctor: Doctor, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_text(path, render(doctor))
