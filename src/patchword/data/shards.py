"""WebDataset shards: tar files in which the members of a sample stand together under one key.

    00017.jpg  00017.cls        a class, as a number or a word
    00018.jpg  00018.json       an object; its `label` or the like is read

Shards are indexed once and read in place: nothing is extracted. A picture's number is its place,
shard by shard in the order of their names, member by member.
"""

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.columns import LABELS, PICTURES, SPLIT_NAMES, Columns, called
from patchword.data.decode import Header, decode, decode_with_header, header
from patchword.data.pixels import Pixels
from patchword.data.source import Data, Source, Targets, digest, divided
from patchword.data.targets import Fault, Row, labelled, note
from patchword.errors import DataError, ImageError

KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
BRACES = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")
LARGEST = 1 << 28  # bytes of a picture
LONGEST = 1 << 20  # bytes of what is said of it
BLOCK = 512


class Piece(NamedTuple):
    """Where a member's bytes are."""

    shard: int
    offset: int
    size: int


class Sample(NamedTuple):
    """The members of one key."""

    name: str  # of the shard, and the key in it
    members: dict[str, Piece]  # by what follows the key's first point, in small letters


class ShardSource(Source):
    """Pictures in tar files, each read from where it is."""

    def __init__(
        self,
        shards: Sequence[Path],
        pictures: Sequence[tuple[str, Piece]],
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


def content(shard: Path, piece: Piece) -> bytes:
    """Read a member."""
    with shard.open("rb") as file:
        file.seek(piece.offset)
        return file.read(piece.size)


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
    name: str, files: Mapping[str, list[Path]], columns: Columns, pixels: Pixels, *, seed: int
) -> Data:
    """Index tar files.

    Args:
        name: of the data set.
        files: from `find_shards`.
        columns: may name the member of a JSON object that is the label.
        pixels: the contract.
        seed: of the split, where there is none.

    Raises:
        DataError: a shard is broken or holds what no shard should, or too many samples are wrong.
    """
    if "train" not in files:
        raise DataError(f"{name} has no training shards; name them train-000000.tar, ...")
    faults: list[Fault] = []
    splits: dict[str, list[Row]] = {}
    for split, shards in files.items():
        splits[split] = []
        for number, shard in enumerate(shards):
            for sample in samples(shard, number, faults):
                row = _row(shards, sample, columns)
                faults.extend([row] if isinstance(row, Fault) else [])
                splits[split].extend([row] if isinstance(row, Row) else [])
    count = len(faults) + sum(map(len, splits.values()))
    if not splits["train"]:
        first = f": {faults[0].place} {faults[0].reason}" if faults else ""
        raise DataError(f"{files['train'][0]} has no labelled pictures{first}")
    made, wrong = labelled(splits, columns.kind)
    notes = note([*faults, *wrong], count)
    sources = {
        split: ShardSource(files[split], [row.picture for row in rows], targets, pixels)
        for split, (rows, targets) in made.items()
    }
    if len(sources) == 1:
        return divided(name, sources["train"], seed=seed, notes=notes)
    return Data(name=name, notes=notes, ids=(), **sources)


def samples(shard: Path, number: int, faults: list[Fault]) -> Iterator[Sample]:
    """Yield the samples of a shard, in its order; a key that stands apart twice joins `faults`."""
    seen: set[str] = set()
    now: Sample | None = None
    for path, piece in members(shard, number):
        match = KEY.fullmatch(path)
        if match is None or path.rpartition("/")[2].startswith("__"):
            continue
        key, what = match[1], match[2].lower()
        name = f"{shard.name}/{key}"
        if now is None or now.name != name:
            if now is not None:
                yield now
            now = Sample(name if key not in seen else f"{name}#2", {})
            if key in seen:
                faults.append(Fault(name, "has a key that stood before"))
                now = None
                continue
            seen.add(key)
        now.members[what] = piece
    if now is not None:
        yield now


def members(shard: Path, number: int) -> Iterator[tuple[str, Piece]]:
    """Yield the files in a shard.

    Raises:
        DataError: it is damaged, or has links, devices or paths that lead out of it.
    """
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise DataError(f"{shard}: {member.name!r} is no plain file; make it anew")
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    raise DataError(f"{shard}: {member.name!r} leads out of it; make it anew")
                if member.offset_data + member.size > size:
                    raise DataError(f"{shard} is cut short in {member.name!r}; get it again")
                yield member.name, Piece(number, member.offset_data, member.size)
            end = tar.offset
        if any(content(shard, Piece(number, end, BLOCK))):  # tarfile ends in silence at damage
            raise DataError(f"{shard} is damaged at byte {end}; get it again")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{shard} cannot be read as a tar file: {reason}; unpack gzip") from None


def _row(shards: Sequence[Path], sample: Sample, columns: Columns) -> Row | Fault:
    picture = next((p for what, p in sample.members.items() if f".{what}" in PICTURES), None)
    if picture is None:
        return Fault(sample.name, "has no picture")
    raw = ""
    for what in ("json",) if columns.labels or columns.values else ("cls", "json"):
        piece = sample.members.get(what)
        if piece is not None and piece.size <= LONGEST:
            raw = _said(content(shards[piece.shard], piece), what, columns)
            break
    if raw == "":
        there = ", ".join(sample.members)
        return Fault(sample.name, f"has no label; it has {there}; wanted: cls, or json with one")
    return Row(sample.name, raw, (sample.name, picture))


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
