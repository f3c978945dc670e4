"""Which column of a list of pictures is which: told by their names, or by what is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from patchword.data.folder import SPLITS
from patchword.data.pixels import FORMATS
from patchword.data.source import Kind
from patchword.data.targets import as_number
from patchword.errors import ConfigError, DataError, suggest

PATHS = "path file filename file_name filepath file_path image image_path image_file img picture"
LABELS = "label labels class classes class_name category categories tag tags target targets"
PARTS = "split subset partition"
ROLES = ("path", "label", "value", "split", "separator")
SEPARATORS = "|;"
PICTURES = tuple(suffix for kind in FORMATS for suffix in FORMATS[kind])
SPLIT_NAMES = {name: split for split in SPLITS for name in (*SPLITS[split], split)}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a list by their role; None or empty where they are to be recognised."""

    path: str | None = None
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()  # columns of numbers to predict
    split: str | None = None
    separator: str | None = None  # between the labels of one cell; empty: they have one each

    @property
    def kind(self) -> Kind | None:
        """What the columns hold, as far as it was said."""
        return "values" if self.values else "labels" if self.separator else None


def columns_from(settings: Sequence[str]) -> Columns:
    """Read columns from ROLE=NAME: `path=file`, `label=cat,dog`, `value=age`, `split=fold`.

    Raises:
        ConfigError: a role is not known, or stands twice.
    """
    found: dict[str, str] = {}
    for setting in settings:
        role, equals, name = setting.partition("=")
        if role not in ROLES or not equals:
            raise ConfigError(f"--columns {setting}: write it as ROLE=NAME; {suggest(role, ROLES)}")
        if role in found:
            raise ConfigError(f"--columns: {role} is given twice")
        found[role] = name
    if "label" in found and "value" in found:
        raise ConfigError("--columns: give label= or value=, not both")
    several = {role: tuple(found[role].split(",")) for role in ("label", "value") if role in found}
    return Columns(
        path=found.get("path"),
        labels=several.get("label", ()),
        values=several.get("value", ()),
        split=found.get("split"),
        separator=found.get("separator"),
    )


def recognised(given: Columns, rows: Sequence[Mapping[str, Any]], file: str) -> Columns:
    """Return the columns with none left open, but for a split that there is none of.

    Args:
        given: those that were named.
        rows: of the training file, cells by column.
        file: what an error calls it.

    Raises:
        DataError: a column is not there, or it cannot be told which it is.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in filter(None, (given.path, given.split, *given.labels, *given.values)):
        if name not in names:
            raise DataError(f"{file} has no column {name!r}; {suggest(name, names)}")
    path = given.path or _path(names, rows, file)
    rest = [name for name in names if name != path]
    split = given.split or _split(rest, rows)
    rest = [name for name in rest if name != split]
    if given.labels or given.values:
        return replace(given, path=path, split=split)
    labels = _labels(rest, rows, file)
    separator = given.separator
    if separator is None and len(labels) == 1:
        separator = _separator([row.get(labels[0]) for row in rows])
    return replace(given, path=path, split=split, labels=labels, separator=separator)


def called(names: Sequence[str], known: str) -> list[str]:
    """Return the columns that are called as known ones are, in the order of the known ones."""
    order = known.split()
    found = [name for name in names if name.strip().lower().replace(" ", "_") in order]
    return sorted(found, key=lambda name: order.index(name.strip().lower().replace(" ", "_")))


def _path(names: Sequence[str], rows: Sequence[Mapping[str, Any]], file: str) -> str:
    pictures = [name for name in names if is_picture(rows[0].get(name))]
    found = [name for name in called(names, PATHS) if name in pictures] or pictures
    found = found or called(names, PATHS)
    if len(found) != 1:
        raise DataError(f"{_choice(file, names, 'the path of the picture')}, as in path=NAME")
    return found[0]


def is_picture(cell: Any) -> bool:
    """Tell whether a cell is the name of a picture's file."""
    return isinstance(cell, str) and cell.lower().endswith(PICTURES)


def _choice(file: str, names: Sequence[str], what: str) -> str:
    listed = ", ".join(map(repr, names[:20]))
    return f"{file} has the columns {listed}: say with --columns which holds {what}"


def _split(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str | None:
    for name in called(names, PARTS):
        cells = {str(row.get(name, "")).strip().lower() for row in rows}
        if cells & set(SPLIT_NAMES["train"]) or cells & set(SPLITS["train"]):
            return name
    return None


def _labels(names: Sequence[str], rows: Sequence[Mapping[str, Any]], file: str) -> tuple[str, ...]:
    known = called(names, LABELS)
    if len(known) == 1:
        return (known[0],)
    if not known and len(names) == 1:
        return (names[0],)
    if len(names) >= 2 and all(_share(row.get(name)) for name in names for row in rows):
        return tuple(names)
    raise DataError(
        f"{_choice(file, names, 'the label')}, as in label=NAME (label=A,B for several, value=NAME "
        "for numbers to predict)"
    )


def _share(cell: Any) -> bool:
    number = as_number(cell)
    return number is not None and 0 <= number <= 1


def _separator(cells: Sequence[Any]) -> str:
    """Return what separates the labels of a cell: a sign that stands in some, or nothing."""
    words = [cell for cell in cells if isinstance(cell, str)]
    return next((sign for sign in SEPARATORS if any(sign in word for word in words)), "")
