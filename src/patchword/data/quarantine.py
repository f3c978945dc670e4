"""The quarantine: pictures that a training leaves out, as a table that people can edit.

A CSV file whose first column names a picture per row, as reports do: its path in the data set's
folder, or `train[17]`. Further columns say why, and are not read; a heading is not needed, so a
plain list of names will do.
"""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from patchword.data.source import Data, Source, Subset
from patchword.errors import DataError
from patchword.files import replacing

HEADING = ("file", "split", "kind", "why")


def write_quarantine(path: Path, rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Write a picture's name, its split, the kind of finding and the reason, a row each."""
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(HEADING)
        table.writerows(rows)


def read_quarantine(path: Path) -> list[str]:
    """Return the names in a quarantine, in order.

    Raises:
        DataError: there is no such file, or it is no text.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            names = [row[0] for row in csv.reader(file) if row and row[0]]
    except OSError as error:
        raise DataError(f"--quarantine {path}: {error.strerror}; name a list of files") from None
    except csv.Error as error:
        raise DataError(f"--quarantine {path} is no CSV file: {error}") from None
    return names[1:] if names[:1] == [HEADING[0]] else names


def leave_out(data: Data, path: Path) -> tuple[Data, dict[str, int]]:
    """Return a data set without the pictures of a quarantine, and how many each split loses.

    Raises:
        DataError: a name is no picture of the data, or a split would lose them all.
    """
    names = read_quarantine(path)
    unseen, lost = set(names), dict[str, int]()
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    for split, source in splits.items():
        if source is not None:
            kept = _without(source, set(names), unseen)
            lost[split] = len(source) - len(kept)
            if not kept.size:
                raise DataError(f"{path} leaves no picture in {split}; shorten it")
            splits[split] = Subset(source, kept) if lost[split] else source
    if unseen:
        first = next(name for name in names if name in unseen)
        raise DataError(
            f"{path}: {data.name} has no picture {first!r}"
            f"{f', nor {len(unseen) - 1} others' if len(unseen) > 1 else ''}; "
            "is the list from another data set, or an older state of this one?"
        )
    return replace(data, **splits), lost


def _without(source: Source, names: set[str], unseen: set[str]) -> np.ndarray:
    """Return the places of the pictures that are not named; strike those met off a set."""
    found = [source.name(index) for index in range(len(source))]
    unseen.difference_update(found)
    return np.flatnonzero([name not in names for name in found])
