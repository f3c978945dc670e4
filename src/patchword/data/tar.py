"""Tar files of samples: the members under one key stand together; where their bytes are."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from patchword.data.targets import Fault
from patchword.errors import DataError

KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
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


def content(shard: Path, piece: Piece) -> bytes:
    """Read a member."""
    with shard.open("rb") as file:
        file.seek(piece.offset)
        return file.read(piece.size)


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
