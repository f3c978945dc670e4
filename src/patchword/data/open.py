"""Open a data set, whatever it is; each kind is recognised by the file that reads it."""

from collections.abc import Sequence
from pathlib import Path

from patchword.data.columns import columns_from
from patchword.data.decode import Pixels
from patchword.data.digits import open_digits
from patchword.data.folder import open_folder
from patchword.data.idx import find_idx, open_idx
from patchword.data.listed import TABLES, find_lists, open_lists
from patchword.data.parquet import find_parquet, open_parquet
from patchword.data.source import Data
from patchword.errors import DataError, suggest

EMBEDDED = ("digits",)


def named(where: str) -> str:
    """Return what a run on some data is called, if nobody says."""
    path = Path(where) if where in EMBEDDED else Path(where).resolve()
    return path.stem if path.is_file() else path.name


def open_data(where: str | Path, *, pixels: Pixels, seed: int, columns: Sequence[str] = ()) -> Data:
    """Recognise a data set and open it.

    Args:
        where: a folder, a list of pictures (CSV, JSON lines), or `digits` for the embedded set (a
            folder of that name: `./digits`).
        pixels: the contract that every picture is read under.
        seed: of the split, where there is none.
        columns: of a list, as ROLE=NAME, where their names do not tell: path, label, value,
            split; and separator, between the labels of a cell.

    Raises:
        DataError: nothing is there, or nothing that is understood.
    """
    if str(where) in EMBEDDED and not isinstance(where, Path):
        return open_digits(pixels)
    path = Path(where)
    if not path.exists():
        hint = suggest(str(where), EMBEDDED)
        raise DataError(f"there is no {path}; name a folder, a list, or an embedded set: {hint}")
    path, named = path.resolve(), columns_from(columns)
    try:
        files = {"train": path} if path.is_file() else find_lists(path)
        if path.is_file() and path.suffix.lower() not in (*TABLES, ".txt"):
            raise DataError(f"{path} is a file; name the folder that it is in")
        if columns and not files:
            raise DataError(f"{path} has no list of pictures that has columns; leave --columns out")
        pairs, tables = ({}, {}) if files else (find_idx(path), find_parquet(path))
        if files:
            return open_lists(files, named, pixels, seed=seed)
        if pairs:
            return open_idx(path, pairs, pixels)
        if tables:
            return open_parquet(path, tables, pixels)
        return open_folder(path, pixels, seed=seed)
    except PermissionError as error:
        raise DataError(f"{error.filename} may not be read; change its permissions") from None
