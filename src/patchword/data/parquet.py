"""Parquet files in Hugging Face's image layout: encoded pictures in a column, labels in another."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from patchword.data.decode import Header, decode, header
from patchword.data.idx import read_classes
from patchword.data.pixels import Pixels
from patchword.data.source import Data, Source, Targets, digest
from patchword.errors import DataError, ImageError

NAME = re.compile(r"(train|validation|valid|val|test)(?:[-_.].*)?\.parquet")
SPLITS = {"train": "train", "test": "test"}  # every other name is validation
IMAGES, LABELS = ("image", "img"), ("label", "labels")


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


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files in a folder or its `data`, by split."""
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in sorted(place.glob("*.parquet")):
            match = NAME.fullmatch(path.name)
            if match:
                found.setdefault(SPLITS.get(match[1], "validation"), []).append(path)
    return found


def open_parquet(folder: Path, files: dict[str, list[Path]], pixels: Pixels) -> Data:
    """Read parquet files into memory, the pictures as they are encoded.

    Args:
        folder: may hold `classes.txt`, which names integer labels that the files leave unnamed.
        files: from `find_parquet`.
        pixels: the contract.

    Raises:
        DataError: a file is broken or lacks a column, or a label is not one of the classes.
    """
    if "train" not in files:
        names = ", ".join(path.name for paths in files.values() for path in paths)
        raise DataError(f"{folder} has {names} but no training file; add train-*.parquet")
    tables = {split: _read(paths) for split, paths in files.items()}
    _, labels, schema = tables["train"]
    classes = _named(schema) or _inferred(labels, read_classes(folder))
    sources = {
        split: ArrowSource(
            images, Targets(classes, _indices(split, labels, classes)), split, pixels
        )
        for split, (images, labels, _) in tables.items()
    }
    return Data(
        name=folder.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
    )


def _read(paths: list[Path]) -> tuple[Any, list[Any], Any]:
    """Return the encoded pictures, their labels, and the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema: Any = pq.read_schema(paths[0])
        image, label = (_column(paths[0], schema, names) for names in (IMAGES, LABELS))
        tables = [pq.read_table(path, columns=[image, label]) for path in paths]
        table: Any = pa.concat_tables(tables)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{paths[0]} and its shards cannot be read: {reason}") from None
    return encoded(table, image, paths[0]), table[label].to_pylist(), schema


def encoded(table: Any, column: str, path: Path) -> Any:
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
        raise DataError(f"{path}: column {column!r} holds {found.type}; wanted encoded bytes")
    return found


def _column(path: Path, schema: Any, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise DataError(f"{path} has {', '.join(schema.names)}; wanted a column {names[0]!r}")


def _named(schema: Any) -> tuple[str, ...]:
    """Return the class names that Hugging Face's datasets wrote beside the schema, if any."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return tuple(next(features[name]["names"] for name in LABELS if name in features))
    except (TypeError, ValueError, KeyError, StopIteration):
        return ()


def _inferred(labels: list[Any], names: tuple[str, ...]) -> tuple[str, ...]:
    if names:
        return names
    if all(isinstance(label, int) and label >= 0 for label in labels):
        return tuple(str(label) for label in range(max(labels, default=-1) + 1))
    return tuple(sorted({str(label) for label in labels}))


def _indices(split: str, labels: list[Any], classes: tuple[str, ...]) -> Int64[np.ndarray, " n"]:
    index: dict[Any, int] = {name: number for number, name in enumerate(classes)}
    index |= {number: number for number in range(len(classes))}
    for row, label in enumerate(labels):
        if label not in index:
            raise DataError(
                f"{split}[{row}] has label {label!r}, which is not one of the "
                f"{len(classes)} classes of the training file; correct or remove it"
            )
    return np.array([index[label] for label in labels], dtype=np.int64)
