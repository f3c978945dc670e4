"""A store: records of one size under numbers, kept in a folder of their key, for good.

FOLDER/
├── key.json       what the records are, in full
├── 0001.records   a head of 40 bytes, then records, each a number, a checksum and its bytes
└── 0002.records   what another process added

Each process writes to a file of its own, and only ever at its end, so that none can harm another
and a killed one loses nothing: a record that was cut off, or is not what was written, is not there.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from patchword.config import read_json
from patchword.errors import RunError
from patchword.files import write_text

MAGIC = b"records1"
HEAD = len(MAGIC) + 32  # bytes, of which the last 32 are the key's digest
RECORD = struct.Struct("<QI")  # number, CRC-32 of number and bytes


class Store:
    """Records under a key; one that is there is never changed.

    Args:
        home: the folder of all stores; this one's is made in it when something is put there.
        key: what the records depend on, as plain JSON values.
        size: of a record, in bytes.

    Raises:
        RunError: the folder holds records under another key.
    """

    def __init__(self, home: Path, key: Mapping[str, Any], size: int) -> None:
        self.key, self.size = json.loads(json.dumps(key)), size
        canonical = json.dumps(self.key, sort_keys=True).encode()
        self.digest = hashlib.sha256(canonical).digest()
        self.folder = home / self.digest.hex()[:24]
        self.own: Path | None = None  # the file that this process writes
        self.places: dict[int, list[tuple[Path, int]]] = {}
        if self.folder.exists():
            self._check_key()
            for path in sorted(self.folder.glob("*.records")):
                self._index(path)

    def __contains__(self, number: int) -> bool:
        """Tell whether a record seems to be there, without reading it."""
        return number in self.places

    def get(self, number: int) -> bytes | None:
        """Read a record; None where it is not there, or not as it was written."""
        for path, offset in self.places.get(number, []):
            with path.open("rb") as file:
                file.seek(offset)
                head, held = file.read(RECORD.size), file.read(self.size)
            if head == _head(number, held):
                return held
        return None

    def put(self, number: int, held: bytes) -> None:
        """Add a record.

        Raises:
            RunError: it cannot be written.
        """
        assert len(held) == self.size
        try:
            self.own = self.own or self._begin()
            with self.own.open("ab") as file:
                offset = file.tell()
                file.write(_head(number, held) + held)
        except OSError as error:
            self.own = None  # what follows half a record would not be found
            raise RunError(
                f"nothing can be kept in {self.folder}: {error.strerror or error}; make room there "
                "or name another --cache"
            ) from None
        self.places.setdefault(number, []).append((self.own, offset))

    def _check_key(self) -> None:
        path = self.folder / "key.json"
        if path.exists() and read_json(path) != self.key:
            raise RunError(f"{path} is not the key of this folder's name; remove the folder")

    def _index(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if len(head) < HEAD:
            return  # its process died before it wrote anything
        if head != MAGIC + self.digest:
            raise RunError(f"{path} holds records of another key; remove it")
        step = RECORD.size + self.size
        rows = (path.stat().st_size - HEAD) // step
        if rows:
            held = np.memmap(path, np.uint8, "r", offset=HEAD, shape=(rows, step))
            numbers = np.ascontiguousarray(held[:, :8]).view("<u8")[:, 0]
            for row, number in enumerate(numbers.tolist()):
                self.places.setdefault(number, []).append((path, HEAD + row * step))

    def _begin(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "key.json").exists():
            with suppress(FileNotFoundError):  # another process has just put it there
                write_text(self.folder / "key.json", json.dumps(self.key, indent=2) + "\n")
        self._check_key()
        for number in count(len(list(self.folder.glob("*.records"))) + 1):
            path = self.folder / f"{number:04d}.records"
            with suppress(FileExistsError), path.open("xb") as file:
                file.write(MAGIC + self.digest)
                return path
        raise AssertionError


def _head(number: int, held: bytes) -> bytes:
    return RECORD.pack(number, zlib.crc32(held, zlib.crc32(number.to_bytes(8, "little"))))
