"""Folders of pictures: one folder per class, in split folders or to be split here.

    photos/train/cat/1.jpg          photos/cat/1.jpg
    photos/train/dog/2.jpg    or    photos/dog/2.jpg
    photos/val/cat/3.jpg

Also read: Tiny ImageNet's validation folder, which has its labels in `val_annotations.txt`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.decode import Header, Pixels, decode, header
from patchword.data.source import Data, Source, Subset, digest, hold_out
from patchword.errors import DataError, ImageError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
ANNOTATIONS = "val_annotations.txt"
HELD_OUT = 0.2
LAYOUT = "wanted: one folder per class, each with pictures, in train/ (and val/, test/) or directly"


class FolderSource(Source):
    """Picture files, each under a path relative to the data set's folder."""

    def __init__(
        self, root: Path, files: Sequence[tuple[str, int]], classes: Sequence[str], pixels: Pixels
    ) -> None:
        self.root, self.classes = root, tuple(classes)
        self.pixels, self.channels = pixels, pixels.channels
        self.paths = tuple(path for path, _ in files)
        self.labels = np.array([label for _, label in files], dtype=np.int64)

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return decode(self.root / self.paths[index], self.pixels, name=self.paths[index])

    def header(self, index: int) -> Header:
        return header(self.root / self.paths[index], self.pixels, name=self.paths[index])

    def name(self, index: int) -> str:
        return self.paths[index]

    def fingerprint(self) -> str:
        sizes = np.array([_size(self.root / path) for path in self.paths], dtype=np.int64)
        return digest([*self.classes, *self.paths], [sizes, self.labels])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ImageError(f"{str(path)!r}: {error.strerror}; was it moved?") from None


@dataclass
class _Found:
    """What a scan of one split came upon: its pictures by class, and what it passed over."""

    pictures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    ignored: list[str] = field(default_factory=list[str])
    loose: int = 0  # pictures that are in no class folder


def open_folder(root: Path, pixels: Pixels, *, seed: int, strays: bool = False) -> Data:
    """Read the layout of a folder of pictures, but no picture.

    Args:
        root: the folder.
        pixels: the contract; files of other formats, by their suffix, are passed over.
        seed: of the split, where there are no split folders.
        strays: classes that only held-out splits have follow the others, rather than be refused.

    Raises:
        DataError: it is empty or laid out otherwise, has a single class, or a split has a class
            that the training pictures lack.
    """
    suffixes = tuple(s for name in pixels.formats for s in SUFFIXES.get(name, ()))
    folders = _split_folders(root)
    scans = {split: _scan(root, folder, suffixes) for split, folder in folders.items()}
    if not folders:
        scans["train"] = _scan(root, root, suffixes)
    classes = _classes(root, scans["train"])
    if strays:
        named = {name for found in scans.values() for name in found.pictures}
        classes += sorted(named - set(classes))
    sources = {
        split: FolderSource(root, _labelled(split, found, classes), classes, pixels)
        for split, found in scans.items()
        if found.pictures
    }
    notes = list(_notes(scans))
    if not folders:
        whole = sources["train"]
        kept, held = hold_out(whole.labels, share=HELD_OUT, seed=seed)
        notes.append(
            f"no split folders: {HELD_OUT:.0%} of the pictures of each class, chosen by "
            f"seed {seed}, are held out for validation"
        )
        train, validation = Subset(whole, kept), Subset(whole, held)
        return Data(name=root.name, train=train, validation=validation, notes=tuple(notes))
    return Data(
        name=root.name,
        train=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        notes=tuple(notes),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits by name; none where the root's folders are the classes."""
    found: dict[str, Path] = {}
    for folder in _folders(root):
        for split, names in SPLITS.items():
            # A class may be called "train" as well: then it has pictures in it, not folders.
            if folder.name.lower() in names and (
                next(_folders(folder), None) or (folder / ANNOTATIONS).is_file()
            ):
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


def _scan(root: Path, split: Path, suffixes: tuple[str, ...]) -> _Found:
    if (split / ANNOTATIONS).is_file():
        return _annotated(root, split)
    found = _Found()
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


def _annotated(root: Path, split: Path) -> _Found:
    found = _Found()
    for line in (split / ANNOTATIONS).read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition("\t")
        path = (split / "images" / Path(name).name).relative_to(root).as_posix()
        found.pictures.setdefault(rest.split("\t")[0], []).append(path)
    return found


def _classes(root: Path, train: _Found) -> list[str]:
    classes = sorted(train.pictures)
    if len(classes) >= 2:
        return classes
    if classes:
        raise DataError(f"{root} has a single class, {classes[0]!r}; {LAYOUT}, two at least")
    if train.loose:
        raise DataError(f"{root} has {train.loose} pictures in no class folder; {LAYOUT}")
    raise DataError(f"{root} holds no pictures; {LAYOUT}")


def _labelled(split: str, found: _Found, classes: list[str]) -> list[tuple[str, int]]:
    unknown = sorted(found.pictures.keys() - set(classes))
    if unknown:
        names = ", ".join(map(repr, unknown[:5]))
        raise DataError(
            f"{split} has {names}, of which the training folder has no pictures; "
            "add some there or remove it here"
        )
    return [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(found.pictures.get(name, []))
    ]


def _notes(scans: dict[str, _Found]) -> Iterator[str]:
    for split, found in scans.items():
        if found.ignored:
            count, first = len(found.ignored), min(found.ignored)
            files = "1 file that is" if count == 1 else f"{count} files that are"
            yield f"{split}: {files} hidden, no pictures or in no class folder: {first!r}, ..."
        if not found.pictures:
            yield f"{split}: left out, since it has no pictures in class folders"
