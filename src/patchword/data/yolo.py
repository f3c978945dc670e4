"""YOLO's layout: a text file for each picture, a line for each object.

    images/train/1.jpg    labels/train/1.txt    0 0.5 0.5 0.2 0.4      class, centre, width, height
                                                1 0.1 0.1 0.5 0.1 0.3 0.6     class and an outline

All are shares of the picture's sides. A picture without a file has nothing on it.
"""

import re
from functools import partial
from pathlib import Path

from patchword.data.boxes import Box, Page, open_boxes
from patchword.data.folder import suffixes_of
from patchword.data.pairs import Beside, Pairs, find_pairs
from patchword.data.pixels import Pixels
from patchword.data.source import Data
from patchword.errors import DataError

BESIDE = Beside(folders=("labels",), suffixes=(".txt",))
NAMES = ("classes.txt", "obj.names", "yolo_classes.txt", "names.txt")
SETTINGS = ("data.yaml", "dataset.yaml", "data.yml")


def find_yolo(root: Path, pixels: Pixels) -> Pairs:
    """Return the pictures and label files of a folder by split; nothing of another layout."""
    return find_pairs(root, BESIDE, suffixes_of(pixels))


def open_yolo(root: Path, pairs: Pairs, pixels: Pixels, *, seed: int) -> Data:
    """Read all label files, but no picture; errors as `open_boxes`.

    Args:
        root: the folder.
        pairs: as `find_yolo` returns them.
        pixels: the contract.
        seed: of the split, where there is none.
    """
    names = names_of(root)
    return open_boxes(
        root, pairs, partial(read_yolo, names=names), pixels, classes=names, seed=seed
    )


def names_of(root: Path) -> tuple[str, ...]:
    """Return the names of the classes in their order.

    Raises:
        DataError: nothing in the folder says them.
    """
    for name in NAMES:
        if (file := root / name).is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    for name in SETTINGS:
        if (file := root / name).is_file():
            return _listed(file)
    wanted = ", ".join((*NAMES, *SETTINGS))
    raise DataError(f"{root} does not name the classes of its labels; wanted: one of {wanted}")


def _listed(file: Path) -> tuple[str, ...]:
    """Read `names:` from YAML: a list in brackets, items with a dash, or with a number each."""
    text = re.sub(r"\s#.*", "", file.read_text(encoding="utf-8"))
    _, there, rest = ("\n" + text).partition("\nnames:")
    if not there:
        raise DataError(f"{file} has no names: of the classes; add them")
    if (first := rest.lstrip(" \n"))[:1] in ("[", "{"):
        inside = re.split(r"[\]}]", first[1:])[0]
        items = [item for part in inside.split(",") if (item := part.strip())]
    else:
        lines = rest.splitlines()[1:]
        ended = next(
            (
                n
                for n, line in enumerate(lines)
                if re.match(r"\w+:", line) and not re.match(r"\d+:", line)
            ),
            len(lines),
        )
        items = [item for line in lines[:ended] if (item := line.strip().removeprefix("- "))]
    found = [re.sub(r"^\d+:\s*", "", item).strip("'\" ") for item in items]
    if not all(found) or not found:
        raise DataError(f"{file} has names: that cannot be read; write them as [cat, dog]")
    return tuple(found)


def read_yolo(file: Path, names: tuple[str, ...]) -> Page | str:
    """Read one file; return its boxes, or what is wrong with it."""
    boxes: list[Box] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        for line in filter(str.strip, lines):
            number, *shares = line.split()
            values = [float(share) for share in shares]
            if not 0 <= int(number) < len(names):
                return f"has class {number}, of {len(names)}"
            if not all(-0.01 <= value <= 1.01 for value in values):
                return "has numbers that are no shares of the picture's sides"
            boxes.append(_box(names[int(number)], values))
    except (OSError, ValueError) as error:
        return f"is no list of boxes: {error}"
    return Page(tuple(boxes), shares=True)


def _box(name: str, values: list[float]) -> Box:
    if len(values) == 4:
        x, y, width, height = values
        return Box(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"{len(values)} numbers after the class; wanted: 4, or pairs of an outline"
        )
    across, down = values[::2], values[1::2]
    return Box(name, (min(across), min(down), max(across), max(down)), outline=tuple(values))
