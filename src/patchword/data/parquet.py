"""Parquet files of pictures: encoded ones in a column, what is known of them in others.

    data/train-00000-of-00001.parquet    image: {bytes, path}, label     Hugging Face's layout

The label is a column of classes, of lists of labels, of shares, or of numbers to predict, as in
lists of pictures; its kind is recognised, the columns are, or are named.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchword.data.arrow import opened, roles
from patchword.data.columns import Columns
from patchword.data.idx import read_classes
from patchword.data.pixels import Pixels
from patchword.data.source import Data
from patchword.errors import DataError

NAME = re.compile(r"(train|validation|valid|val|test)(?:[-_.].*)?\.parquet")
SPLITS = {"train": "train", "test": "test"}  # every other name is validation


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files in a folder or its `data`, by split."""
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in sorted(place.glob("*.parquet")):
            match = NAME.fullmatch(path.name)
            if match:
                found.setdefault(SPLITS.get(match[1], "validation"), []).append(path)
    return found


def open_parquet(
    folder: Path, files: dict[str, list[Path]], columns: Columns, pixels: Pixels
) -> Data:
    """Read parquet files into memory, the pictures as they are encoded.

    Args:
        folder: may hold `classes.txt`, which names integer labels that the files leave unnamed.
        files: from `find_parquet`.
        columns: those that were named; the others are recognised.
        pixels: the contract.

    Raises:
        DataError: a file is broken or lacks a column, or a label is not one of the classes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if "train" not in files:
        names = ", ".join(path.name for paths in files.values() for path in paths)
        raise DataError(f"{folder} has {names} but no training file; add train-*.parquet")
    first = files["train"][0]
    try:
        schema: Any = pq.read_schema(first)
        found = roles(first, schema, _features(schema), columns)
        read = [found.image, *found.known]
        tables = {split: _read(paths, read) for split, paths in files.items()}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{first} and its shards cannot be read: {reason}") from None
    if not found.classes and found.kind != "values" and len(found.known) == 1:
        column = tables["train"][found.known[0]]
        found = found._replace(classes=_numbered(column, read_classes(folder)))
    sources, notes = opened(first, tables, found, pixels)
    return Data(
        name=folder.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        notes=tuple(notes),
    )


def _read(paths: Sequence[Path], columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])


def _features(schema: Any) -> dict[str, Any]:
    """Return what Hugging Face's datasets wrote beside the schema, if anything."""
    try:
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    except (TypeError, ValueError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


def _numbered(column: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes that whole numbers are, those that no picture has among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return names if pa.types.is_integer(kind.value_type) else ()
    if not pa.types.is_integer(kind):
        return ()
    largest = pc.call_function("max", [column]).as_py()
    return names or tuple(map(str, range((-1 if largest is None else largest) + 1)))
