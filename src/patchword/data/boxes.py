"""Boxes in text beside pictures, as YOLO and Pascal VOC have them, read once when a set is opened.

Both have what a file of pictures and objects comes to: classes, and of each picture some boxes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from patchword.data.coco import rarest
from patchword.data.folder import FolderSource
from patchword.data.pairs import Pair, Pairs, data_of
from patchword.data.pixels import Pixels
from patchword.data.rle import fill
from patchword.data.scene import Scene, objects_from
from patchword.data.source import Data, Targets, digest
from patchword.data.targets import Fault, note
from patchword.errors import DataError, ImageError


class Box(NamedTuple):
    """One box as it stands in a file."""

    name: str  # of its class
    corners: tuple[float, float, float, float]  # left, top, right, bottom
    crowd: bool = False
    outline: tuple[float, ...] = ()  # x and y of corners in turn


class Page(NamedTuple):
    """The boxes of one picture."""

    boxes: tuple[Box, ...]
    size: tuple[int, int] | None = None  # rows, columns, if the file says it
    shares: bool = False  # corners and outlines are shares of the picture's sides, not pixels


class BoxSource(FolderSource):
    """Picture files with boxes.

    Args:
        root: the data set's folder.
        pages: the boxes of each picture, by its path relative to the folder.
        targets: names of the classes, and the class that stands for each picture.
        pixels: the contract.
    """

    def __init__(
        self, root: Path, pages: Mapping[str, Page], targets: Targets, pixels: Pixels
    ) -> None:
        super().__init__(root, list(pages), targets, pixels)
        self.pages = tuple(pages.values())
        self.numbers = {name: number for number, name in enumerate(targets.classes)}

    def scene(self, index: int) -> Scene:
        page, (rows, columns) = self.pages[index], self.header(index).size
        if page.size not in (None, (rows, columns)):
            raise ImageError(
                f"{self.name(index)}: is {columns} x {rows} pixels, but {page.size[1]} x "
                f"{page.size[0]} where its boxes are; correct one of them"
            )
        scale = (columns, rows) if page.shares else (1, 1)
        found = [self._object(box, scale) for box in page.boxes]
        masks = self._masks(page, (rows, columns), scale)
        return Scene(objects=objects_from(found, masks))

    def _object(
        self, box: Box, scale: tuple[int, int]
    ) -> tuple[tuple[float, float, float, float], int, bool, float]:
        left, top, right, bottom = (
            value * side for value, side in zip(box.corners, scale * 2, strict=True)
        )
        area = (right - left) * (bottom - top)
        return (left, top, right, bottom), self.numbers[box.name], box.crowd, area

    def _masks(
        self, page: Page, size: tuple[int, int], scale: tuple[int, int]
    ) -> Bool[Tensor, "n h w"] | None:
        if not any(box.outline for box in page.boxes):
            return None
        masks = np.zeros((len(page.boxes), *size), bool)
        for mask, box in zip(masks, page.boxes, strict=True):
            left, top, right, bottom = box.corners
            corners = box.outline or (left, top, right, top, right, bottom, left, bottom)
            mask[:] = fill((np.array(corners).reshape(-1, 2) * scale).ravel().tolist(), *size)
        return torch.from_numpy(masks)

    def fingerprint(self) -> str:
        boxes = [
            (self.numbers[box.name], *box.corners) for page in self.pages for box in page.boxes
        ]
        return digest([super().fingerprint()], [np.array(boxes, np.float64)])


@dataclass
class Reading:
    """What was found while files of boxes were read."""

    faults: list[Fault] = field(default_factory=list[Fault])
    flat: int = 0  # boxes without area
    files: int = 0

    def read(
        self, root: Path, pairs: Sequence[Pair], read: Callable[[Path], Page | str]
    ) -> dict[str, Page]:
        """Return the pages of one split by picture, without those that are wrong."""
        found: dict[str, Page] = {}
        for pair in pairs:
            page = Page(()) if pair.beside is None else read(root / pair.beside)
            self.files += 1
            if isinstance(page, str):
                self.faults.append(Fault(str(pair.beside), page))
            else:
                found[pair.picture] = page._replace(boxes=self.kept(page.boxes))
        return found

    def kept(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Leave out boxes without area, and count them."""
        kept = tuple(
            box
            for box in boxes
            if box.corners[2] > box.corners[0] and box.corners[3] > box.corners[1]
        )
        self.flat += len(boxes) - len(kept)
        return kept

    def notes(self) -> Iterator[str]:
        """Say what was left out.

        Raises:
            DataError: too many files are wrong.
        """
        yield from note(self.faults, self.files)
        if self.flat:
            yield f"{self.flat} boxes without area left out"


def open_boxes(
    root: Path,
    pairs: Pairs,
    read: Callable[[Path], Page | str],
    pixels: Pixels,
    *,
    classes: Sequence[str] = (),
    seed: int,
) -> Data:
    """Read all files of boxes, but no picture.

    Args:
        root: the data set's folder.
        pairs: pictures and files of boxes; a picture without one has nothing on it.
        read: one file, from its path: its page, or what is wrong with it.
        pixels: the contract.
        classes: in their order; none: the sorted names in the training files.
        seed: of the split, where there is none.

    Raises:
        DataError: too many files are wrong, there is no box, or a split has a class that the
            training pictures lack.
    """
    reading = Reading()
    pages = {split: reading.read(root, rows, read) for split, rows in pairs.items()}
    notes = list(reading.notes())
    used = {
        split: [{box.name for box in page.boxes} for page in found.values()]
        for split, found in pages.items()
    }
    training = used.get("train") or next(iter(used.values()))
    names = tuple(classes) or tuple(sorted(set().union(*training)))
    if not names:
        raise DataError(f"{root} has no box to train on; add some")
    strange = sorted(set().union(*(set().union(*some) for some in used.values())) - set(names))
    if strange:
        raise DataError(
            f"{root} has a box of {strange[0]!r}, which none of the training pictures has; add "
            "some there or remove it"
        )
    numbers = {name: number for number, name in enumerate(names)}
    sources: dict[str, BoxSource] = {}
    for split, found in pages.items():
        labels = rarest([{numbers[name] for name in some} for some in used[split]], len(names))
        sources[split] = BoxSource(root, found, Targets(names, labels, "objects"), pixels)
    return data_of(root, sources, notes, seed=seed)
