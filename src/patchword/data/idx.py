"""idx files: MNIST's format, and that of the sets made in its likeness; gzipped or not."""

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from patchword.data.pixels import Pixels
from patchword.data.source import ArraySource, Data
from patchword.errors import DataError

NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
SPLITS = {"train": "train", "t10k": "test", "test": "test"}
CLASS_FILES = ("classes.txt", "labels.txt")
MAX_BYTES = 8 << 30  # of one file, unpacked
DENSEST = 1032  # bytes that deflate can make of one
CHUNK = 1 << 20


class Pair(NamedTuple):
    """The two files of a split."""

    images: Path
    labels: Path


def find_idx(folder: Path) -> dict[str, Pair]:
    """Return the idx files in a folder, by split; none of another name."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = NAME.fullmatch(path.name)
        if match:
            found.setdefault(SPLITS[match[1]], {}).setdefault(match[2], path)
    for split, files in found.items():
        missing = {"images", "labels"} - files.keys()
        if missing:
            raise DataError(f"{folder} has no {missing.pop()} file for {split}; add it")
    return {split: Pair(**files) for split, files in found.items()}


def open_idx(folder: Path, pairs: dict[str, Pair], pixels: Pixels) -> Data:
    """Read idx files into memory.

    Args:
        folder: may hold `classes.txt` or `labels.txt`: a name per line; else names are numbers.
        pairs: from `find_idx`.
        pixels: the contract; the pictures are grey.

    Raises:
        DataError: a file is cut short, lies about its size, or does not fit the others.
    """
    if "train" not in pairs:
        raise DataError(f"{folder} has idx files but no training ones; add train-images-idx3-ubyte")
    arrays = {
        split: (_read(pair.images, 3), _read(pair.labels, 1)) for split, pair in pairs.items()
    }
    classes = read_classes(folder) or _numbers(arrays["train"][1])
    sources: dict[str, ArraySource] = {}
    for split, (images, labels) in arrays.items():
        if len(images) != len(labels):
            found = f"{len(images)} pictures but {len(labels)} labels"
            raise DataError(f"{pairs[split].images.parent}: {split} has {found}; get both again")
        if labels.size and labels.max() >= len(classes):
            raise DataError(
                f"{pairs[split].labels} has class {labels.max()}, but there are only "
                f"{len(classes)} classes; name them all in classes.txt"
            )
        grey = torch.from_numpy(images)[:, None].expand(-1, pixels.channels, -1, -1)
        sources[split] = ArraySource(grey, labels.astype(np.int64), classes, split)
    return Data(name=folder.name, train=sources["train"], test=sources.get("test"))


def read_classes(folder: Path) -> tuple[str, ...]:
    """Return the class names of `classes.txt` or `labels.txt`, a line each; none without one."""
    for name in CLASS_FILES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()


def _numbers(labels: UInt8[np.ndarray, " n"]) -> tuple[str, ...]:
    return tuple(str(label) for label in range(1 + int(labels.max()) if labels.size else 0))


def _read(path: Path, dimensions: int) -> UInt8[np.ndarray, "..."]:
    """Read one file of unsigned bytes, trusting its header with nothing."""
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if head[:4] != bytes((0, 0, 8, dimensions)) or len(head) < 4 + 4 * dimensions:
                raise DataError(f"{path} is no idx file of bytes in {dimensions} dimensions")
            shape = tuple(int(size) for size in np.frombuffer(head, ">u4", offset=4))
            size = int(np.prod(shape, dtype=object))
            bound = path.stat().st_size * (DENSEST if packed else 1)
            if size > min(bound, MAX_BYTES):
                raise DataError(f"{path} states {size} bytes, more than it can hold; get it again")
            body = bytearray()
            while len(body) <= size and (chunk := file.read(min(CHUNK, size + 1 - len(body)))):
                body += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; get it again") from None
    if len(body) != size:
        more = "more" if len(body) > size else "fewer"
        raise DataError(f"{path} states {size} bytes but holds {more}; get it again")
    return np.frombuffer(body, np.uint8).reshape(shape)
