"""Masks: a map of classes beside each picture, grey, by palette or by colours.

What a stored value means is said by the data set: `classes.txt` (a name a line, from 0), a JSON
object from value to name, a table of names and colours (`class_dict.csv`, CVAT's `labelmap.txt`),
or a convention: ADE20K's (0 is void), Cityscapes' (19 of 34 ids are trained on), Pascal VOC's.
Where nothing says it, the values of the training masks are the classes. 255, and a class that is
called void or unlabelled, are `VOID`.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from patchword.data.decode import Header, decode_map
from patchword.data.folder import FolderSource, bytes_of, suffixes_of
from patchword.data.pairs import WHOLE, Beside, Pair, Pairs, data_of, find_pairs, with_both
from patchword.data.pixels import Pixels
from patchword.data.scene import VOID, Scene
from patchword.data.source import Data, Targets, digest
from patchword.errors import DataError, ImageError

BESIDE = Beside(
    folders=(
        *("masks", "mask", "annotations", "labels", "semantic_masks", "segmentation", "gt"),
        *("SegmentationClass", "gtFine"),
    ),
    suffixes=(".png", ".tif", ".tiff", ".bmp", ".gif"),
    endings=(
        *("", "_mask", "_masks", "_label", "_labels", "_seg", "_gt", "_L"),
        *("_gtFine_labelTrainIds", "_gtFine_labelIds"),
    ),
    own=("", "_leftImg8bit"),
    annot=True,
)
NAMES_OF_VOID = ("void", "unlabeled", "unlabelled", "unlabel", "ignore")
SCANNED = 1000  # training masks that are read for their values
VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
)
CITYSCAPES = {  # id: class; the other ids, up to 33, and -1 are void
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole"},
    **{19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"},
    **{24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train"},
    **{32: "motorcycle", 33: "bicycle"},
}


@dataclass(frozen=True, kw_only=True)
class Codes:
    """What stored values mean: a name each, in the order of the classes; None for void."""

    names: Mapping[int, str | None]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the order in which they are given."""
        return tuple(name for name in dict.fromkeys(self.names.values()) if name is not None)

    def table(self) -> tuple[Int32[np.ndarray, " v"], UInt8[np.ndarray, " v"]]:
        """Return the values in order, and the number of each one's class."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        values = sorted(self.names)
        labels = [VOID if (n := self.names[value]) is None else numbers[n] for value in values]
        return np.array(values, np.int32), np.array(labels, np.uint8)


def coded(names: Mapping[int, str]) -> Codes:
    """Return the codes of named values; those called void are, and so is 255 if it has no name."""
    void = {value: None for value, name in names.items() if name.lower() in NAMES_OF_VOID}
    return Codes(names={VOID: None, **names, **void})


class MaskSource(FolderSource):
    """Picture files with a mask beside each.

    Args:
        root: the data set's folder.
        pairs: paths of pictures and masks, relative to it.
        codes: what the values in the masks mean.
        pixels: the contract.
    """

    def __init__(
        self, root: Path, pairs: Sequence[tuple[str, str]], codes: Codes, pixels: Pixels
    ) -> None:
        targets = Targets(codes.classes, np.zeros(len(pairs), np.int64), "mask")
        super().__init__(root, [picture for picture, _ in pairs], targets, pixels)
        self.masks = tuple(mask for _, mask in pairs)
        self.values, self.numbers = codes.table()

    def scene(self, index: int) -> Scene:
        header, name = self.header(index), self.masks[index]
        stored = decode_map(self.root / name, self.pixels, header, name=name)
        return Scene(mask=self._numbered(stored, name)).checked(header.size, self.name(index))

    def _numbered(self, stored: Int32[np.ndarray, "h w"], name: str) -> UInt8[Tensor, "h w"]:
        places = np.searchsorted(self.values, stored).clip(max=len(self.values) - 1)
        strange = self.values[places] != stored
        if strange.any():
            raise ImageError(
                f"{name}: has value {said(int(stored[strange][0]))}, which is no class; wanted: "
                f"{', '.join(map(said, self.values.tolist()[:20]))}"
            )
        return torch.from_numpy(self.numbers[places])

    def fingerprint(self) -> str:
        sizes = np.array([bytes_of(self.root / mask) for mask in self.masks], dtype=np.int64)
        return digest([super().fingerprint(), *self.masks], [sizes, self.values, self.numbers])


def said(value: int) -> str:
    """Write a stored value; one of a colour as red, green and blue."""
    if value < 256:
        return str(value)
    return f"({value % 256}, {value // 256 % 256}, {value // 65536})"


def find_masks(root: Path, pixels: Pixels) -> Pairs:
    """Return the pictures and masks of a folder by split; nothing of another layout."""
    voc = root / "ImageSets" / "Segmentation"
    listed: Pairs = {}
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        if (file := voc / f"{name}.txt").is_file():
            stems = file.read_text(encoding="utf-8").split()
            listed[split] = [
                Pair(f"JPEGImages/{stem}.jpg", f"SegmentationClass/{stem}.png") for stem in stems
            ]
        elif (file := root / f"{name}.txt").is_file():
            rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
            pairs = [Pair(*row) for row in rows if len(row) == 2]
            if pairs and len(pairs) == sum(map(bool, rows)) and _are_files(root, pairs[0]):
                listed[split] = pairs
    return listed if "train" in listed else find_pairs(root, BESIDE, suffixes_of(pixels))


def _are_files(root: Path, pair: Pair) -> bool:
    return all((root / str(path)).is_file() for path in pair)


def open_masks(root: Path, pairs: Pairs, pixels: Pixels, *, seed: int) -> Data:
    """Read the layout of a folder of pictures and masks, and the training masks where it must.

    Args:
        root: the folder.
        pairs: as `find_masks` returns them.
        pixels: the contract.
        seed: of the split, where there is none.

    Raises:
        DataError: it is not told what the values mean, or there are more than 255 classes.
    """
    kept, notes = with_both(pairs, "a mask")
    training = kept.get("train") or kept[WHOLE]
    codes = _codes(root, training)
    if codes is None:
        codes = _scanned(root, training, pixels)
        notes.append(
            f"the classes are the {len(codes.classes)} values in the training masks, since no "
            "classes.txt names them"
        )
    if not 0 < len(codes.classes) <= VOID:
        raise DataError(
            f"{root} has {len(codes.classes)} classes of pixels; wanted: 1 to {VOID}, named in "
            "classes.txt"
        )
    sources = {split: MaskSource(root, rows, codes, pixels) for split, rows in kept.items()}
    return data_of(root, sources, notes, seed=seed)


def _codes(root: Path, training: Sequence[tuple[str, str]]) -> Codes | None:
    """Return what the data set says of its values, if anything."""
    first = Path(training[0][1])
    if first.stem.endswith("_labelIds"):
        ids = {value: None for value in range(34)}
        return Codes(names=ids | {VOID: None} | CITYSCAPES)
    if first.stem.endswith("_labelTrainIds"):
        return coded(dict(enumerate(CITYSCAPES.values())))
    if (file := root / "objectInfo150.txt").is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        rows = csv.DictReader(lines, delimiter="\t")
        return Codes(names={0: None} | {int(row["Idx"]): row["Name"].strip() for row in rows})
    for name in ("class_dict.csv", "labelmap.txt", "label_colors.txt"):
        if (file := root / name).is_file():
            return coded(_colours(file))
    if first.parts[0] == "SegmentationClass":
        return coded(dict(enumerate(VOC.split())))
    if (file := root / "classes.txt").is_file():
        lines = file.read_text(encoding="utf-8").splitlines()
        return coded({n: line.strip() for n, line in enumerate(lines) if line.strip()})
    for file in sorted(root.glob("*class*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(key.isdecimal() for key in found):
            return coded({int(key): str(found[key]) for key in sorted(found, key=int)})
    return None


def _colours(file: Path) -> dict[int, str]:
    """Read names and colours: `road,128,64,128`, `road:128,64,128::`, `128 64 128 road`."""
    found: dict[int, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = [word for word in line.replace(":", ",").replace("\t", ",").split(",") if word]
        words = [word.strip() for word in words] if len(words) > 3 else line.split()
        levels = [int(word) for word in words if word.isdecimal()]
        names = [word for word in words if not word.isdecimal()]
        if len(levels) == 3 and names:
            found[levels[0] + 256 * levels[1] + 65536 * levels[2]] = names[0]
        elif number > 1 and line.strip() and not line.startswith("#"):
            raise DataError(
                f"{file}:{number} has no name and three levels; wanted: road,128,64,128"
            )
    return found


def _scanned(root: Path, training: Sequence[tuple[str, str]], pixels: Pixels) -> Codes:
    """Return the values of training masks as codes."""
    values: set[int] = set()
    places = np.linspace(0, len(training) - 1, min(SCANNED, len(training))).astype(int)
    for place in places.tolist():
        name = training[place][1]
        stored = decode_map(root / name, pixels, Header("L", (0, 0)), name=name)
        values.update(np.unique(stored).tolist())
        if len(values) > VOID + 1:
            raise DataError(
                f"{root} has more than {VOID} values in its masks; are they photographs? name the "
                "values that are classes in classes.txt"
            )
    return coded({value: said(value) for value in sorted(values - {VOID})})
