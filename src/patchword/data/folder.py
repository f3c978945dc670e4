"""Folders of pictures: one folder per class, in split folders or to be split here.

    photos/train/cat/1.jpg          photos/cat/1.jpg
    photos/train/dog/2.jpg    or    photos/dog/2.jpg
    photos/val/cat/3.jpg

The class index is the sorted names of the training folders.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.decode import Header, decode, decode_with_header, header
from patchword.data.pixels import FORMATS, Pixels
from patchword.data.source import NO_CLASSES, Data, Source, Targets, digest, divided
from patchword.errors import DataError, ImageError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LAYOUT = "wanted: one folder per class, each with pictures, in train/ (and val/, test/) or directly"


class FolderSource(Source):
    """Picture files, each under a path relative to the data set's folder."""

    def __init__(self, root: Path, paths: Sequence[str], targets: Targets, pixels: Pixels) -> None:
        self.root, self.paths, self.known = root, tuple(paths), targets
        self.pixels, self.channels = pixels, pixels.channels
        self.classes, self.labels, self.kind, self.targets = targets

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return decode(self.root / self.paths[index], self.pixels, name=self.paths[index])

    def header(self, index: int) -> Header:
        return header(self.root / self.paths[index], self.pixels, name=self.paths[index])

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        return decode_with_header(
            self.root / self.paths[index], self.pixels, name=self.paths[index]
        )

    def name(self, index: int) -> str:
        return self.paths[index]

    def fingerprint(self) -> str:
        sizes = np.array([bytes_of(self.root / path) for path in self.paths], dtype=np.int64)
        return digest([*self.classes, *self.paths], [sizes, *self.known.arrays()])


def bytes_of(path: Path) -> int:
    """Return the size of a file; one that is gone is an `ImageError`."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise ImageError(f"{str(path)!r}: {error.strerror}; was it moved?") from None


@dataclass
class Found:
    """What a scan of one split came upon: its pictures by class, and what it passed over."""

    pictures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    ignored: list[str] = field(default_factory=list[str])
    loose: int = 0  # pictures that are in no class folder


def open_folder(root: Path, pixels: Pixels, *, seed: int, lenient: bool = False) -> Data:
    """Read the layout of a folder of pictures, but no picture.

    Args:
        root: the folder.
        pixels: the contract; files of other formats, by their suffix, are passed over.
        seed: of the split, where there are no split folders.
        lenient: classes that only held-out splits have follow the others, and pictures without
            classes are of the class `""`, rather than be refused.

    Raises:
        DataError: it is empty or laid out otherwise, has a single class, or a split has a class
            that the training pictures lack.
    """
    suffixes = suffixes_of(pixels)
    folders = _split_folders(root)
    scans = {split: scan(root, folder, suffixes) for split, folder in folders.items()}
    if not folders:
        scans["train"] = scan(root, root, suffixes)
    alone = scans["train"]
    if lenient and not folders and (alone.loose or alone.pictures) and len(alone.pictures) < 2:
        return Data(name=root.name, train=open_pictures(root, ("",), pixels), notes=NO_CLASSES)
    classes = _classes(root, scans["train"])
    if lenient:
        named = {name for found in scans.values() for name in found.pictures}
        classes += sorted(named - set(classes))
    sources = {
        split: FolderSource(root, *_labelled(split, found, classes), pixels)
        for split, found in scans.items()
        if found.pictures
    }
    notes = list(_notes(scans))
    if not folders:
        return divided(root.name, sources["train"], seed=seed, notes=notes)
    return Data(
        name=root.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        notes=tuple(notes),
    )


def open_pictures(root: Path, classes: tuple[str, ...], pixels: Pixels) -> FolderSource:
    """Find every picture below a folder, in whatever folders; all are of the first class for now.

    Raises:
        DataError: there are none.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root} of pictures")
    suffixes, found = suffixes_of(pixels), list[str]()
    for path in _files(root):
        relative = path.relative_to(root)
        if path.suffix.lower() in suffixes and not any(map(_hidden, relative.parts)):
            found.append(relative.as_posix())
    if not found:
        raise DataError(f"{root} holds no pictures")
    labels = np.zeros(len(found), dtype=np.int64)
    return FolderSource(root, sorted(found), Targets(classes, labels), pixels)


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits by name; none where the root's folders are the classes."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
        for split, names in SPLITS.items():
            # A class may be called "train" as well: then it has pictures in it, not folders.
            if folder.name.lower() in names and next(_folders(folder), None):
                if split in found:
                    both = f"{found[split].name} and {folder.name}"
                    raise DataError(f"{root} has {both}: remove or rename one of them")
                found[split] = folder
    if found and "train" not in found:
        names = ", ".join(folder.name for folder in found.values())
        raise DataError(f"{root} has {names} but no train folder; {LAYOUT}")
    return found


def _folders(root: Path) -> Iterator[Path]:
    """Yield the visible folders in a folder, in the order of their names."""
    return (p for p in sorted(root.iterdir()) if p.is_dir() and not _hidden(p.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def suffixes_of(pixels: Pixels) -> tuple[str, ...]:
    """Return the suffixes of the files that a contract reads."""
    return tuple(s for name in pixels.formats for s in FORMATS[name])


def scan(root: Path, split: Path, suffixes: tuple[str, ...]) -> Found:
    """Find the pictures in a split's class folders, by paths relative to the root."""
    found = Found()
    for path in _files(split):
        relative = path.relative_to(split)
        if any(map(_hidden, relative.parts)) or path.suffix.lower() not in suffixes:
            found.ignored.append(path.relative_to(root).as_posix())
        elif len(relative.parts) == 1:
            found.loose += 1
            found.ignored.append(path.relative_to(root).as_posix())
        else:
            pictures = found.pictures.setdefault(relative.parts[0], [])
            pictures.append(path.relative_to(root).as_posix())
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, through links, entering no folder twice on the way down."""
    pending = [(folder, frozenset[tuple[int, int]]())]
    while pending:
        folder, above = pending.pop()
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append((folder / entry.name, above | {here}))
                else:
                    yield folder / entry.name


def _classes(root: Path, train: Found) -> list[str]:
    classes = sorted(train.pictures)
    if len(classes) >= 2:
        return classes
    if classes:
        raise DataError(f"{root} has a single class, {classes[0]!r}; {LAYOUT}, two at least")
    if train.loose:
        raise DataError(f"{root} has {train.loose} pictures in no class folder; {LAYOUT}")
    raise DataError(f"{root} holds no pictures; {LAYOUT}")


def _labelled(split: str, found: Found, classes: list[str]) -> tuple[list[str], Targets]:
    unknown = sorted(found.pictures.keys() - set(classes))
    if unknown:
        names = ", ".join(map(repr, unknown[:5]))
        raise DataError(
            f"{split} has {names}, of which the training folder has no pictures; "
            "add some there or remove it here"
        )
    members = [sorted(found.pictures.get(name, [])) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in members])
    return [path for paths in members for path in paths], Targets(tuple(classes), labels)


def _notes(scans: dict[str, Found]) -> Iterator[str]:
    for split, found in scans.items():
        if found.ignored:
            count, first = len(found.ignored), min(found.ignored)
            files = "1 file that is" if count == 1 else f"{count} files that are"
            yield f"{split}: {files} hidden, no pictures or in no class folder: {first!r}, ..."
        if not found.pictures:
            yield f"{split}: left out, since it has no pictures in class folders"
