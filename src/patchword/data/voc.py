"""Pascal VOC's layout: an XML file of boxes for each picture, and lists of the splits.

    JPEGImages/1.jpg    Annotations/1.xml    ImageSets/Main/train.txt, val.txt, test.txt

Corners are read as they stand, as labelling tools write them; those of the challenges' own files,
whose pixels are counted from 1 to the last one included, lose one pixel at the left and the top.
What is marked as difficult counts as a crowd: it is neither learnt nor scored.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from patchword.data.boxes import Box, Page, open_boxes
from patchword.data.folder import suffixes_of
from patchword.data.pairs import WHOLE, Pair, Pairs
from patchword.data.pixels import Pixels
from patchword.data.source import Data
from patchword.errors import DataError

LISTS = {"train": "train", "val": "validation", "test": "test"}
OWN = re.compile(r"VOC20\d\d", re.IGNORECASE)  # the folder that the challenges' files name


def find_voc(root: Path) -> Path | None:
    """Return the folder of this layout, which may be the only one in another."""
    inside = sorted(path for path in root.iterdir() if path.is_dir() and path.name[:1] != ".")
    for folder in [root, *inside[:1]] if len(inside) == 1 else [root]:
        some = (folder / "Annotations").glob("*.xml") if (folder / "JPEGImages").is_dir() else ()
        if next(iter(some), None):
            return folder
    return None


def open_voc(root: Path, pixels: Pixels, *, seed: int) -> Data:
    """Read the lists and all annotations, but no picture; errors as `open_boxes`."""
    suffixes = suffixes_of(pixels)
    pictures = {
        path.stem: path.relative_to(root).as_posix()
        for path in sorted((root / "JPEGImages").iterdir())
        if path.suffix.lower() in suffixes
    }
    pairs: Pairs = {}
    for name, split in LISTS.items():
        if (file := root / "ImageSets" / "Main" / f"{name}.txt").is_file():
            pairs[split] = list(_pairs(root, file, pictures))
    if "train" not in pairs:
        pairs = {WHOLE: [_pair(root, stem, picture) for stem, picture in pictures.items()]}
    return open_boxes(root, pairs, read_voc, pixels, seed=seed)


def _pairs(root: Path, file: Path, pictures: dict[str, str]) -> Iterator[Pair]:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip():
            stem = line.split()[0]
            if stem not in pictures:
                raise DataError(f"{file} lists {stem!r}, which is not in JPEGImages; remove it")
            yield _pair(root, stem, pictures[stem])


def _pair(root: Path, stem: str, picture: str) -> Pair:
    beside = f"Annotations/{stem}.xml"
    return Pair(picture, beside if (root / beside).is_file() else None)


def read_voc(file: Path) -> Page | str:
    """Read one file; return its boxes, or what is wrong with it."""
    try:
        tree = ElementTree.parse(file).getroot()
        by = 1.0 if OWN.fullmatch(tree.findtext("folder", "").strip()) else 0.0
        sides = [int(tree.findtext(f"size/{name}", "0")) for name in ("height", "width")]
        boxes = tuple(_box(one, by) for one in tree.iter("object"))
    except (ElementTree.ParseError, ValueError, OSError) as error:
        return f"is no annotation: {error}"
    if any(not box.name for box in boxes):
        return "has an object without a name"
    return Page(boxes, (sides[0], sides[1]) if all(sides) else None)


def _box(one: ElementTree.Element, by: float) -> Box:
    left, top, right, bottom = (
        float(one.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    difficult = one.findtext("difficult", "0").strip() == "1"
    return Box(one.findtext("name", "").strip(), (left - by, top - by, right, bottom), difficult)
