"""CIFAR-10 and CIFAR-100 as their authors give them: Python pickles, or binaries.

A pickle is a program. These are read by an unpickler that knows lists, dictionaries, bytes and
one array, which it holds as bytes; no function of numpy's or anybody else's is called.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from patchword.data.pixels import Pixels
from patchword.data.source import ArraySource, Data
from patchword.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST = 1 << 28  # bytes of a file; CIFAR-100's training pictures are 155 MB


class Layout(NamedTuple):
    """The files of one release."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str  # the file of the class names
    key: str  # of the labels and, in pickles, of their names
    skip: int = 0  # bytes before the label in a binary record


BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
PICKLES = (
    Layout(BATCHES, ("test_batch",), "batches.meta", "label"),
    Layout(("train",), ("test",), "meta", "fine_label"),
)
BINARIES = (
    Layout(tuple(f"{name}.bin" for name in BATCHES), ("test_batch.bin",), "batches.meta.txt", ""),
    Layout(("train.bin",), ("test.bin",), "fine_label_names.txt", "", 1),
)
FOLDERS = ("cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-bin", "cifar-100-binary")


def find_cifar(folder: Path) -> tuple[Path, Layout] | None:
    """Return where CIFAR's files are, in a folder or the one in it, and how they are laid out."""
    for place in (folder, *(folder / name for name in FOLDERS)):
        for layout in (*PICKLES, *BINARIES):
            if (place / layout.names).is_file() and (place / layout.train[0]).is_file():
                return place, layout
    return None


def open_cifar(folder: Path, layout: Layout, pixels: Pixels) -> Data:
    """Read CIFAR's files into memory.

    Args:
        folder: that the files are in.
        layout: of the files; those of the training pictures that are missing are said.
        pixels: the contract.

    Raises:
        DataError: a file is broken, or is no such pickle.
    """
    binary = layout in BINARIES
    classes = _names(folder / layout.names, layout)
    there = [name for name in layout.train if (folder / name).is_file()]
    absent = ", ".join(name for name in layout.train if name not in there)
    sources: dict[str, ArraySource] = {}
    for split, files in (("train", there), ("test", layout.test)):
        paths = [folder / name for name in files if (folder / name).is_file()]
        if not paths:
            continue
        read = [_binary(path, layout) if binary else _pickled(path, layout) for path in paths]
        images = np.concatenate([images for images, _ in read])
        labels = np.concatenate([labels for _, labels in read])
        if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
            raise DataError(f"{paths[0]} has a label that is none of {len(classes)} classes")
        sources[split] = ArraySource(_of(images, pixels), labels, classes, split)
    return Data(
        name=folder.name,
        train=sources["train"],
        test=sources.get("test"),
        notes=(f"train: {absent} is not there",) if absent else (),
    )


def _of(images: np.ndarray, pixels: Pixels) -> torch.Tensor:
    found = torch.from_numpy(images.reshape(-1, 3, SIDE, SIDE))
    if pixels.channels == 3:
        return found
    luma = torch.tensor([19595, 38470, 7471], dtype=torch.int32).view(3, 1, 1)  # as Pillow's
    return torch.stack([((image * luma).sum(0, keepdim=True) + 32768 >> 16) for image in found]).to(
        torch.uint8
    )


def _names(path: Path, layout: Layout) -> tuple[str, ...]:
    if layout in BINARIES:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    found = _unpickled(path).get(f"{layout.key}_names")
    if not isinstance(found, list) or not all(isinstance(name, str | bytes) for name in found):
        raise DataError(f"{path} has no {layout.key}_names; get it again")
    return tuple(name.decode() if isinstance(name, bytes) else name for name in found)


def _binary(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    record = layout.skip + 1 + PIXELS
    size = path.stat().st_size
    if not size or size % record or size > LARGEST:
        raise DataError(f"{path} has {size} bytes, no multiple of {record}; get it again")
    found = np.fromfile(path, np.uint8).reshape(-1, record)
    return found[:, layout.skip + 1 :], found[:, layout.skip].astype(np.int64)


def _pickled(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    found = _unpickled(path)
    images, labels = found.get("data"), found.get(f"{layout.key}s")
    if not isinstance(images, _Array) or not isinstance(labels, list):
        raise DataError(f"{path} has no data with {layout.key}s; get it again")
    pixels = images.rows(PIXELS)
    if pixels is None or len(pixels) != len(labels) or not all(type(n) is int for n in labels):
        raise DataError(f"{path}: data and {layout.key}s do not fit together; get it again")
    return pixels, np.array(labels, dtype=np.int64)


class _Array:
    """Stands for a numpy array in a pickle: keeps what it is made of, and makes nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def rows(self, width: int) -> np.ndarray | None:
        """Return it as rows of bytes; None if it is anything else."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            return None
        _, shape, kind, fortran, body = self.state
        bytes_ = isinstance(kind, _Kind) and kind.name in ("u1", "uint8", b"u1")
        if not bytes_ or fortran or not isinstance(body, bytes) or not isinstance(shape, tuple):
            return None
        flat = len(body) == (shape[0] * width if len(shape) == 2 and shape[1] == width else -1)
        return np.frombuffer(bytearray(body), np.uint8).reshape(-1, width) if flat else None


class _Kind:
    """Stands for the type of an array's elements."""

    def __init__(self, name: Any = None, *arguments: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Do what Python 3 asks for when it wrote bytes in an old protocol."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes of an unknown encoding")
    return text.encode("latin1")


KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which CIFAR does not need")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for another file")


def _unpickled(path: Path) -> Mapping[str, Any]:
    """Read a dictionary from a pickle of CIFAR's, its keys as text.

    Raises:
        DataError: it is something else.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise DataError(f"{path} has {size} bytes, more than any file of CIFAR; get it again")
    try:
        found = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except Exception as error:  # broken pickles raise everything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} is no pickle of CIFAR's: {reason}; get it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no dictionary; get it again")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in found.items()}
