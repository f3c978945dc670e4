"""WebDataset shards: tar files in which the members of a sample stand together under one key.

    00017.jpg  00017.cls        a class, as a number or a word
    00018.jpg  00018.json       an object; its `label` or the like is read

Shards are indexed once and read in place: nothing is extracted. A picture's number is its place,
shard by shard in the order of their names, member by member.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.columns import LABELS, PICTURES, SPLIT_NAMES, Columns, called
from patchword.data.decode import Header, decode, decode_with_header, header
from patchword.data.pixels import Pixels
from patchword.data.source import NO_CLASSES, Data, Source, Targets, digest, divided
from patchword.data.tar import Piece, Sample, content, samples
from patchword.data.targets import Fault, Row, labelled, note
from patchword.errors import DataError, ImageError

BRACES = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")
LARGEST = 1 << 28  # bytes of a picture
LONGEST = 1 << 20  # bytes of what is said of it

Place: TypeAlias = tuple[str, Piece]  # a picture: what it is called, and its bytes


class ShardSource(Source):
    """Pictures in tar files, each read from where it is."""

    def __init__(
        self,
        shards: Sequence[Path],
        pictures: Sequence[Place],
        targets: Targets,
        pixels: Pixels,
    ) -> None:
        self.shards, self.known = tuple(shards), targets
        self.names = tuple(name for name, _ in pictures)
        self.pieces = np.array([piece for _, piece in pictures], dtype=np.int64).reshape(-1, 3)
        self.pixels, self.channels = pixels, pixels.channels
        self.classes, self.labels, self.kind, self.targets = targets

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return decode(self._bytes(index), self.pixels, name=self.names[index])

    def header(self, index: int) -> Header:
        return header(self._bytes(index), self.pixels, name=self.names[index])

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        return decode_with_header(self._bytes(index), self.pixels, name=self.names[index])

    def name(self, index: int) -> str:
        return self.names[index]

    def fingerprint(self) -> str:
        return digest([*self.classes, *self.names], [self.pieces[:, 2], *self.known.arrays()])

    def _bytes(self, index: int) -> bytes:
        piece = Piece(*self.pieces[index].tolist())
        if piece.size > LARGEST:
            raise ImageError(f"{self.names[index]}: has {piece.size} bytes; wanted: {LARGEST}")
        try:
            found = content(self.shards[piece.shard], piece)
        except OSError as error:
            reason = f"{error.strerror}; was it moved?"
            raise ImageError(f"{self.names[index]}: {reason}") from None
        if len(found) != piece.size:
            raise ImageError(f"{self.names[index]}: its shard is cut short now; get it again")
        return found


def is_pattern(where: str) -> bool:
    """Tell whether a path names tar files by braces or a glob."""
    return where.endswith(".tar") and any(sign in Path(where).name for sign in "{*?[")


def find_shards(where: Path) -> dict[str, list[Path]]:
    """Return the tar files that a folder, a file or a pattern names, by split.

    Raises:
        DataError: a pattern names files that are not there.
    """
    if where.is_dir():
        found = [*where.glob("*.tar")]
        for folder in where.iterdir():
            if folder.name.lower() in SPLIT_NAMES and folder.is_dir():
                found += folder.glob("*.tar")
    elif where.is_file():
        found = [where]
    elif "{" in where.name:
        found = [where.with_name(name) for name in expanded(where.name)]
    else:
        found = list(where.parent.glob(where.name))
    absent = [path for path in found if not path.exists()]
    if absent or (not found and not where.is_dir()):
        raise DataError(f"there is no {(absent or [where])[0]}; name shards that are there")
    splits: dict[str, list[Path]] = {}
    for path in sorted(found):
        words = [path.parent.name.lower() if path.parent != where else "", stem(path)]
        split = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "train")
        splits.setdefault(split, []).append(path)
    return splits


def stem(path: Path) -> str:
    """Return the first word of a shard's name: `train` of train-000000.tar."""
    return re.split(r"[-_.\d]", path.name.lower(), maxsplit=1)[0]


def expanded(name: str) -> list[str]:
    """Write braces out: {000..002} stands for 000, 001 and 002."""
    match = BRACES.fullmatch(name)
    if match is None:
        return [name]
    before, first, last, after = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [
        f"{left}{number:0{len(first)}}{after}" for left in expanded(before) for number in numbers
    ]


def open_shards(
    name: str,
    files: Mapping[str, list[Path]],
    columns: Columns,
    pixels: Pixels,
    *,
    seed: int,
    lenient: bool = False,
) -> Data:
    """Index tar files.

    Args:
        name: of the data set.
        files: from `find_shards`.
        columns: may name the member of a JSON object that is the label.
        pixels: the contract.
        seed: of the split, where there is none.
        lenient: where no sample has a label, all are of the class `""`, rather than be refused.

    Raises:
        DataError: a shard is broken or holds what no shard should, or too many samples are wrong.
    """
    if "train" not in files:
        raise DataError(f"{name} has no training shards; name them train-000000.tar, ...")
    splits, bare, faults = _indexed(files, columns)
    if lenient and not any(splits.values()) and bare["train"]:
        return Data(name=name, notes=NO_CLASSES, ids=(), **_unlabelled(files, bare, pixels))
    count = len(faults) + sum(map(len, splits.values()))
    if not splits["train"]:
        why = next((f": {fault.place} {fault.reason}" for fault in faults), "")
        raise DataError(f"{files['train'][0]} has no labelled pictures{why}")
    made, wrong = labelled(splits, columns.kind)
    notes = note([*faults, *wrong], count)
    sources = {
        split: ShardSource(files[split], [row.picture for row in rows], targets, pixels)
        for split, (rows, targets) in made.items()
    }
    if len(sources) == 1:
        return divided(name, sources["train"], seed=seed, notes=notes)
    return Data(name=name, notes=notes, ids=(), **sources)


def _indexed(
    files: Mapping[str, list[Path]], columns: Columns
) -> tuple[dict[str, list[Row]], dict[str, list[Place]], list[Fault]]:
    """Return the samples of each split that have labels, the places of others, and all faults."""
    faults: list[Fault] = []
    splits: dict[str, list[Row]] = {split: [] for split in files}
    bare: dict[str, list[Place]] = {split: [] for split in files}
    for split, shards in files.items():
        for number, shard in enumerate(shards):
            for sample in samples(shard, number, faults):
                row = _row(shards, sample, columns)
                if isinstance(row, Fault):
                    faults.append(row)
                elif row.raw != "":
                    splits[split].append(row)
                else:
                    bare[split].append(row.picture)
                    faults.append(_without_label(sample))
    return splits, bare, faults


def _unlabelled(
    files: Mapping[str, list[Path]],
    pictures: Mapping[str, Sequence[Place]],
    pixels: Pixels,
) -> dict[str, ShardSource]:
    """Return the splits of shards without labels, all of one class that has no name."""
    found: dict[str, ShardSource] = {}
    for split in filter(pictures.__getitem__, pictures):
        targets = Targets(("",), np.zeros(len(pictures[split]), dtype=np.int64))
        found[split] = ShardSource(files[split], pictures[split], targets, pixels)
    return found


def _row(shards: Sequence[Path], sample: Sample, columns: Columns) -> Row | Fault:
    """Return a sample's picture and label; the label is empty where it has none."""
    picture = next((p for what, p in sample.members.items() if f".{what}" in PICTURES), None)
    if picture is None:
        return Fault(sample.name, "has no picture")
    raw = ""
    for what in ("json",) if columns.labels or columns.values else ("cls", "json"):
        piece = sample.members.get(what)
        if piece is not None and piece.size <= LONGEST:
            raw = _said(content(shards[piece.shard], piece), what, columns)
            break
    return Row(sample.name, raw, (sample.name, picture))


def _without_label(sample: Sample) -> Fault:
    there = ", ".join(sample.members)
    return Fault(sample.name, f"has no label; it has {there}; wanted: cls, or json with one")


def _said(content: bytes, what: str, columns: Columns) -> Any:
    """Return what a label's member says; empty if nothing."""
    try:
        if what == "cls":
            return content.decode("utf-8").strip()
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    wanted = columns.values or columns.labels or tuple(called(list(found), LABELS)[:1])
    if len(wanted) > 1 or columns.values:
        return {name: found.get(name) for name in wanted}
    raw = found.get(wanted[0]) if wanted else None
    return "" if raw is None else raw
