"""Tables of encoded pictures, in Arrow's memory: which column is which, and what they hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.columns import LABELS, Columns, called
from patchword.data.decode import Header, decode, decode_with_header, header
from patchword.data.pixels import Pixels
from patchword.data.source import Kind, Source, Targets, digest
from patchword.data.targets import Row, labelled, note
from patchword.errors import DataError, ImageError

IMAGES = ("image", "img")


class ArrowSource(Source):
    """Encoded pictures in an Arrow column, where they stay."""

    def __init__(
        self,
        encoded: Any,
        targets: Targets,
        label: str,
        pixels: Pixels,
    ) -> None:
        self.encoded, self.known = encoded, targets
        self.classes, self.labels, self.kind, self.targets = targets
        self.label, self.pixels, self.channels = label, pixels, pixels.channels

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return decode(self._file(index), self.pixels, name=self.name(index))

    def header(self, index: int) -> Header:
        return header(self._file(index), self.pixels, name=self.name(index))

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        return decode_with_header(self._file(index), self.pixels, name=self.name(index))

    def name(self, index: int) -> str:
        return f"{self.label}[{index}]"

    def fingerprint(self) -> str:
        import pyarrow.compute as pc

        lengths: Any = pc.call_function("binary_length", [self.encoded])
        sizes = np.asarray(lengths.fill_null(-1).to_numpy(), dtype=np.int64)
        return digest([self.label, *self.classes], [sizes, *self.known.arrays()])

    def _file(self, index: int) -> memoryview:
        buffer = self.encoded[index].as_buffer()
        if buffer is None:
            raise ImageError(f"{self.name(index)}: has no bytes; remove the row")
        return memoryview(buffer)


class Roles(NamedTuple):
    """Which columns of a table hold what."""

    image: str
    known: tuple[str, ...]  # the label, or several columns of numbers
    kind: Kind | None  # None: to be recognised
    separator: str | None
    classes: tuple[str, ...]  # as they are named beside the table, if they are
    said: bool  # whether somebody named the columns


def roles(where: Path, schema: Any, features: Mapping[str, Any], columns: Columns) -> Roles:
    """Tell which column is which, by what was said, by the data set's features, or by names.

    Args:
        where: what an error calls the table.
        schema: Arrow's.
        features: those that Hugging Face's library wrote beside it, by column.
        columns: those that were named.

    Raises:
        DataError: a column is missing, or it cannot be told which it is.
    """
    import pyarrow as pa

    names: list[str] = schema.names
    there = ", ".join(map(repr, names))
    if columns.split is not None:
        raise DataError(f"{where} has its splits by files; leave split={columns.split} out")
    image = columns.path or of_type(features, "Image")
    image = image or next((name for name in IMAGES if name in names), None)
    if image not in names:
        raise DataError(f"{where} has the columns {there}: say with --columns path=NAME")
    known = columns.values or columns.labels
    if not known:
        one = of_type(features, "ClassLabel") or next(iter(called(names, LABELS)), None)
        known = (one,) if one else ()
    rest = [name for name in names if name != image]
    kinds = [schema.field(name).type for name in rest]
    if not known and len(rest) > 1 and all(map(_is_number, kinds)):
        known = tuple(rest)  # a column of numbers for each class
    elif not known and len(rest) == 1 and not pa.types.is_binary(kinds[0]):
        known = (rest[0],)
    if not known or any(name not in names for name in known):
        raise DataError(f"{where} has the columns {there}: say with --columns label=NAME")
    feature = features.get(known[0])
    single = isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel"
    kind = columns.kind or ("class" if single else None)
    said = bool(columns.values or columns.labels)
    classes = () if kind == "values" else class_names(feature)
    return Roles(image, known, kind, columns.separator, classes, said)


def opened(
    where: Path, tables: Mapping[str, Any], found: Roles, pixels: Pixels
) -> tuple[dict[str, ArrowSource], list[str]]:
    """Make a source of each split, the pictures as they are encoded; and say what was left out.

    Args:
        where: what an error calls the tables.
        tables: Arrow's, by split, "train" among them.
        found: which column is which.
        pixels: the contract.

    Raises:
        DataError: a column holds something else, or too many rows have no label.
    """
    rows = {split: _rows(split, table, found) for split, table in tables.items()}
    made, wrong = labelled(rows, found.kind, name=found.known[0], classes=found.classes)
    if len(found.known) > 1 and not found.said and made["train"][1].kind == "values":
        listed = ",".join(found.known)
        raise DataError(f"{where} has columns of numbers: say with --columns value={listed}")
    blank = {split for split in tables if split != "train" and split not in made}
    notes = [f"{split}: left out, since it has no labels" for split in sorted(blank)]
    counted = [fault for fault in wrong if fault.place.partition("[")[0] not in blank]
    notes += note(counted, sum(len(rows[split]) for split in made))
    sources: dict[str, ArrowSource] = {}
    for split, (kept, targets) in made.items():
        pictures = encoded(tables[split], found.image, where)
        if len(kept) < len(pictures):
            pictures = pictures.take([row.picture for row in kept])
        sources[split] = ArrowSource(pictures, targets, split, pixels)
    return sources, notes


def encoded(table: Any, column: str, where: Path) -> Any:
    """Return the bytes of a column of pictures, which may stand in a struct beside their paths.

    Raises:
        DataError: it holds something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = table[column]
    if pa.types.is_struct(found.type) and found.type.get_field_index("bytes") >= 0:
        found = pc.call_function("struct_field", [found], pc.StructFieldOptions(["bytes"]))
    if not (pa.types.is_binary(found.type) or pa.types.is_large_binary(found.type)):
        raise DataError(f"{where}: column {column!r} holds {found.type}; wanted encoded bytes")
    return found


def of_type(features: Mapping[str, Any], kind: str) -> str | None:
    """Return the only column of a type, or of lists of it."""
    found = [name for name, feature in features.items() if _inner(feature).get("_type") == kind]
    return found[0] if len(found) == 1 else None


def class_names(feature: Any) -> tuple[str, ...]:
    """Return the names of the classes that a feature is of, or lists of it."""
    names = _inner(feature).get("names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _inner(feature: Any) -> Mapping[str, Any]:
    """Return a feature; of lists, that of their elements."""
    while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
        feature = feature["feature"]
    return feature if isinstance(feature, Mapping) else {}


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _rows(split: str, table: Any, found: Roles) -> list[Row]:
    classes, cells = found.classes, [table[name].to_pylist() for name in found.known]

    def named(cell: Any) -> Any:
        if isinstance(cell, str) and found.separator:
            return [part.strip() for part in cell.split(found.separator) if part.strip()]
        if classes and isinstance(cell, list):
            return [named(part) for part in cell]
        if classes and isinstance(cell, int) and not isinstance(cell, bool):
            return None if cell < 0 else classes[cell] if cell < len(classes) else str(cell)
        return cell

    if len(cells) == 1:
        raws: list[Any] = [named(cell) for cell in cells[0]]
    else:
        raws = [dict(zip(found.known, row, strict=True)) for row in zip(*cells, strict=True)]
    return [Row(f"{split}[{number}]", raw, number) for number, raw in enumerate(raws)]
