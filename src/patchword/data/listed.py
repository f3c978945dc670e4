"""Lists of pictures: CSV or JSON lines, a row per picture, with its path and its labels.

    file,label              {"file": "1.jpg", "label": "cat"}
    1.jpg,cat               {"file": "2.jpg", "labels": ["dog", "hen"]}
    2.jpg,dog               {"file": "3.jpg", "shares": {"cat": 0.8, "dog": 0.2}}

Paths are relative to the list. Splits are a column, or files: train.csv, val.csv, test.csv.
Delimiter, header and columns are recognised, or named.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from patchword.data.columns import PICTURES, SPLIT_NAMES, Columns, is_picture, recognised
from patchword.data.folder import FolderSource
from patchword.data.pixels import Pixels
from patchword.data.source import Data, divided
from patchword.data.targets import Fault, Row, labelled, note
from patchword.errors import DataError

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
ALONE = ("metadata", "labels", "annotations")  # a list that names its splits
DELIMITERS = "\t,;| "
SAMPLE = 50  # rows that tell the delimiter
HEAD = 1 << 16  # bytes of a file in which a list of pictures names one
Cells: TypeAlias = dict[str, Any]
Table: TypeAlias = list[tuple[int, Cells]]  # rows, each with its line


def find_lists(folder: Path) -> dict[str, Path]:
    """Return the lists of pictures in a folder by split: train.csv and its like, or one of all.

    They may also be in the split folders, as `train/metadata.csv`.

    Raises:
        DataError: two files claim the same split.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(path.stem.lower())
        if split and path.is_dir():
            inside = [list_ for name in ALONE for list_ in sorted(path.glob(f"{name}.*"))]
            path = next(filter(is_list, inside), path)
        elif path.stem.lower() in ALONE:
            split = "all"
        if split is None or not is_list(path):
            continue
        if split in found:
            raise DataError(f"{folder} has {found[split].name} and {path.name}: name one of them")
        found[split] = path
    whole = found.pop("all", None)
    if "train" in found:
        return found
    return {} if whole is None else {"train": whole}


def is_list(path: Path) -> bool:
    """Tell whether a file is a list that speaks of pictures."""
    if path.suffix.lower() not in TABLES or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD).lower()
    return any(suffix.encode() in head for suffix in PICTURES)


def open_lists(files: dict[str, Path], columns: Columns, pixels: Pixels, *, seed: int) -> Data:
    """Read lists of pictures, but no picture.

    Args:
        files: by split; a single one may have a column of splits.
        columns: those that were named; the others are recognised.
        pixels: the contract.
        seed: of the split, where none is given.

    Raises:
        DataError: a list is broken, it cannot be told which column is which, or too many rows
            are wrong.
    """
    train = files["train"]
    root = Path(os.path.commonpath([path.parent for path in files.values()]))
    faults: list[Fault] = []
    tables = {split: list(read(path, faults)) for split, path in files.items()}
    count = len(faults) + sum(map(len, tables.values()))
    if not tables["train"]:
        raise DataError(f"{train} has no rows; wanted: a row per picture, with path and label")
    found = recognised(columns, [cells for _, cells in tables["train"]], str(train))
    splits: dict[str, list[Row]] = {}
    notes: list[str] = []
    for split, table in tables.items():
        if split == "train" or any(known(cells, found) != "" for _, cells in table):
            sort(split, files[split], table, found, splits, faults)
        else:
            notes.append(f"{split}: left out, since {files[split].name} has no labels")
    if "train" not in splits:
        raise DataError(f"{train} has no row to train on: {complaint(faults)}")
    made, wrong = labelled(splits, found.kind, name="".join(found.labels))
    notes += [said(found, tables["train"]), *note([*faults, *wrong], count)]
    inside = {split: path.parent.relative_to(root) for split, path in files.items()}
    sources = {
        split: FolderSource(
            root,
            [(inside.get(split, Path()) / row.picture).as_posix() for row in rows],
            targets,
            pixels,
        )
        for split, (rows, targets) in made.items()
    }
    own = train.stem.lower() not in (*SPLIT_NAMES, *ALONE)
    name = train.stem if own else root.name
    if len(sources) == 1:
        return divided(name, sources["train"], seed=seed, notes=notes)
    return Data(name=name, notes=tuple(notes), ids=(), **sources)


def sort(
    split: str,
    file: Path,
    table: Table,
    columns: Columns,
    splits: dict[str, list[Row]],
    faults: list[Fault],
) -> None:
    """Put the rows of a file into their splits, and those that lack something to the faults."""
    for line, cells in table:
        place = f"{file.name}:{line}"
        part = split if columns.split is None else part_of(cells, columns.split)
        reason = missing(cells, columns) if part else f"{columns.split} names no split"
        if reason:
            faults.append(Fault(place, reason))
        else:
            row = Row(place, known(cells, columns), cells[columns.path or ""])
            splits.setdefault(str(part), []).append(row)


def complaint(faults: Sequence[Fault]) -> str:
    """Say what is wrong with the first of some rows."""
    return f"{faults[0].place} {faults[0].reason}" if faults else "add some"


def said(columns: Columns, table: Table) -> str:
    """Say which columns are read as what."""
    names = dict.fromkeys(name for _, cells in table for name in cells)
    used = (columns.path, columns.split, *columns.labels, *columns.values)
    unused = [name for name in names if name not in used]
    what = "values" if columns.values else "labels"
    listed = ", ".join((columns.values or columns.labels)[:8])
    return (
        f"column {columns.path} holds the paths, {listed} the {what}"
        + (f" (separated by {columns.separator!r})" if columns.separator else "")
        + (f", {columns.split} the split" if columns.split else "")
        + (f"; not used: {', '.join(unused[:8])}" if unused else "")
    )


def part_of(cells: Cells, column: str) -> str | None:
    """Return the split that a row names; None where it names none."""
    return SPLIT_NAMES.get(str(cells.get(column, "")).strip().lower())


def missing(cells: Cells, columns: Columns) -> str:
    """Say what a row lacks, if anything."""
    path = cells.get(columns.path or "")
    if not isinstance(path, str) or not path:
        return "has no path"
    if "\0" in path:
        return "has a path that no file can have"
    return "" if known(cells, columns) != "" or columns.separator else "has no label"


def known(cells: Cells, columns: Columns) -> Any:
    """Return what a row says of its picture, as `targets` reads it; empty where it says nothing."""
    first, *others = columns.values or columns.labels
    if others or columns.values:
        found = {name: cells.get(name, "") for name in (first, *others)}
        return found if any(cell not in ("", None) for cell in found.values()) else ""
    cell = cells.get(first)
    if isinstance(cell, str) and columns.separator:
        return [word for part in cell.split(columns.separator) if (word := part.strip())]
    return "" if cell is None else cell


def read(path: Path, faults: list[Fault]) -> Iterator[tuple[int, Cells]]:
    """Yield the rows of a list, cells by column, each with its line; broken ones join `faults`.

    Raises:
        DataError: the file cannot be read, or it has no columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() in (".jsonl", ".ndjson"):
                yield from _objects(path, file, faults)
            else:
                yield from _records(path, file, faults)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not in UTF-8; save it so") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _objects(path: Path, file: Any, faults: list[Fault]) -> Iterator[tuple[int, Cells]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield line, found
        else:
            faults.append(Fault(f"{path.name}:{line}", "is no JSON object"))


def _records(path: Path, file: Any, faults: list[Fault]) -> Iterator[tuple[int, Cells]]:
    sample = list(islice(file, SAMPLE))
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter(path, sample), skipinitialspace=True)
    first = next(reader, [])
    headless = any(map(is_picture, first))
    names = [str(n + 1) for n in range(len(first))] if headless else [c.strip() for c in first]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns {twice!r}; rename one of them")
    if headless:
        yield 1, dict(zip(names, (cell.strip() for cell in first), strict=True))
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) != len(names):
            found = f"has {len(cells)} cells, not {len(names)}"
            faults.append(Fault(f"{path.name}:{reader.line_num}", found))
        else:
            yield (
                reader.line_num,
                dict(zip(names, (cell.strip() for cell in cells), strict=True)),
            )


def delimiter(path: Path, sample: Sequence[str]) -> str:
    """Return the sign that cuts the first lines into equally many cells, the most of all signs.

    Raises:
        DataError: none cuts them.
    """
    best, most = "", 1
    for sign in DELIMITERS:
        counts = [len(cells) for cells in csv.reader(sample, delimiter=sign) if any(cells)]
        usual = max(set(counts), key=counts.count, default=0)
        even = counts.count(usual) >= 0.8 * len(counts) and counts[:1] == [usual]
        if even and usual > most:
            best, most = sign, usual
    if not best:
        raise DataError(f"{path} has a single column; wanted: a row per picture, path and label")
    return best
