"""COCO's files: objects with boxes and masks, and pictures parted into things and stuff.

    annotations/instances_train2017.json    train2017/ or images/train2017/ or images/train/
    annotations/panoptic_train2017.json     annotations/panoptic_train2017/*.png

Ids of categories may have gaps: classes are numbered in the order of the training file's ids.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from patchword.data.columns import SPLIT_NAMES
from patchword.data.decode import decode_map
from patchword.data.folder import FolderSource, bytes_of
from patchword.data.pairs import IMAGES, WHOLE, data_of
from patchword.data.pixels import Pixels
from patchword.data.rle import decode_runs, fill
from patchword.data.scene import Panoptic, Scene, Segment, objects_from
from patchword.data.source import Data, Targets, digest
from patchword.errors import DataError, ImageError

Json = dict[str, Any]


class Listed(NamedTuple):
    """One of COCO's files, read."""

    file: Path
    pictures: Path  # the folder of its pictures
    images: list[Json]
    annotations: dict[Any, list[Json]]  # by the picture's id


class CocoSource(FolderSource):
    """Pictures of one of COCO's files, with their objects.

    Args:
        root: the data set's folder.
        listed: the file.
        ids: of the categories, in the order of the classes.
        targets: names of the classes, and the class that stands for each picture.
        pixels: the contract.

    Attributes:
        ids: as given: the class with number k is category `ids[k]`.
        image_ids: the file's id of each picture.
    """

    def __init__(
        self, root: Path, listed: Listed, ids: Sequence[int], targets: Targets, pixels: Pixels
    ) -> None:
        folder = listed.pictures.relative_to(root)
        paths = [(folder / image["file_name"]).as_posix() for image in listed.images]
        super().__init__(root, paths, targets, pixels)
        self.listed, self.ids = listed, tuple(ids)
        self.image_ids = tuple(image["id"] for image in listed.images)
        self.numbers = {id_: number for number, id_ in enumerate(ids)}

    def scene(self, index: int) -> Scene:
        image, name = self.listed.images[index], self.name(index)
        found = self.listed.annotations.get(image["id"], [])
        kept = [one for one in found if _has_area(one)]
        size = self._size(index, image)
        masked = any(one.get("segmentation") for one in kept)
        masks = _masks(kept, size, name) if masked else None
        rows = [
            (
                (x, y, x + width, y + height),
                self.numbers[one["category_id"]],
                bool(one.get("iscrowd", 0)),
                float(one.get("area", width * height)),
            )
            for one in kept
            for x, y, width, height in [map(float, one["bbox"])]
        ]
        return Scene(objects=objects_from(rows, masks)).checked(size, name)

    def _size(self, index: int, image: Json) -> tuple[int, int]:
        """Return the picture's size, once it is seen to be what the file says."""
        size = self.header(index).size
        said = (image.get("height", size[0]), image.get("width", size[1]))
        if said != size:
            raise ImageError(
                f"{self.name(index)}: is {size[1]} x {size[0]} pixels, but {said[1]} x {said[0]} "
                f"in {self.listed.file.name}; correct one of them"
            )
        return size

    def fingerprint(self) -> str:
        size = np.array([bytes_of(self.listed.file)], dtype=np.int64)
        return digest([super().fingerprint(), self.listed.file.name], [size])


class PanopticSource(CocoSource):
    """Pictures of one of COCO's panoptic files, with the maps of ids in the folder of its name."""

    def scene(self, index: int) -> Scene:
        image, name = self.listed.images[index], self.name(index)
        (found,) = self.listed.annotations[image["id"]]
        file = self.listed.file.with_suffix("") / found["file_name"]
        ids = decode_map(file, self.pixels, self.header(index), name=file.name)
        segments = tuple(
            Segment(s["id"], self.numbers[s["category_id"]], bool(s["iscrowd"]), s["area"])
            for s in found["segments_info"]
        )
        scene = Scene(panoptic=Panoptic(torch.from_numpy(ids), segments))
        return scene.checked(self._size(index, image), name)


def _has_area(one: Json) -> bool:
    return one["bbox"][2] > 0 and one["bbox"][3] > 0


def _masks(found: Sequence[Json], size: tuple[int, int], name: str) -> Bool[Tensor, "n h w"]:
    """Draw the masks of objects; one that has none is its box."""
    drawn = np.zeros((len(found), *size), bool)
    for mask, one in zip(drawn, found, strict=True):
        shape = one.get("segmentation")
        x, y, width, height = map(float, one["bbox"])
        if isinstance(shape, Mapping):
            try:
                mask[:] = decode_runs(shape["counts"], *size)
            except DataError as error:
                raise ImageError(f"{name}: a mask does not fit: {error}") from None
        else:
            box = [x, y, x + width, y, x + width, y + height, x, y + height]
            for outline in shape or [box]:
                mask |= fill([float(value) for value in outline], *size)
    return torch.from_numpy(drawn)


def find_coco(root: Path, kind: str) -> dict[str, Path]:
    """Return COCO's files in a folder, or in its `annotations`, by split.

    Args:
        root: the folder.
        kind: `instances` or `panoptic`, with which their names begin.
    """
    found: dict[str, Path] = {}
    for file in sorted([*root.glob(f"annotations/{kind}_*.json"), *root.glob(f"{kind}_*.json")]):
        word = re.sub(r"\d+$", "", file.stem.removeprefix(f"{kind}_")).rstrip("_-").lower()
        split = SPLIT_NAMES.get(word, WHOLE)
        if kind == "instances" or file.with_suffix("").is_dir():
            found.setdefault(split, file)
    return found if "train" in found else {WHOLE: found[WHOLE]} if WHOLE in found else {}


def open_coco(root: Path, files: Mapping[str, Path], pixels: Pixels, *, seed: int) -> Data:
    """Read COCO's files, but no picture.

    Args:
        root: the folder.
        files: by split, all of instances or all of panoptic ones.
        pixels: the contract.
        seed: of the split, where there is none.

    Raises:
        DataError: a file is broken, its pictures are not found, or it has unknown categories.
    """
    first = files.get("train") or files[WHOLE]
    categories = sorted(_read(first)["categories"], key=lambda one: one["id"])
    ids, names = [one["id"] for one in categories], tuple(one["name"] for one in categories)
    panoptic = first.stem.startswith("panoptic")
    sources: dict[str, CocoSource] = {}
    notes: list[str] = []
    for split, file in files.items():
        listed = _listed(root, file)
        strange = _categories(listed, panoptic=panoptic) - set(ids)
        if strange:
            raise DataError(
                f"{file} has category {min(strange)}, which {first.name} does not list; add it "
                "to its categories"
            )
        if panoptic:
            listed = _with_map(listed, notes)
            targets = Targets(names, np.zeros(len(listed.images), np.int64), "panoptic")
            sources[split] = PanopticSource(root, listed, ids, targets, pixels)
            things = {n for n, one in enumerate(categories) if one.get("isthing")}
            sources[split].things = frozenset(things)
        else:
            notes += _flat(listed)
            targets = Targets(names, _rarest(listed, ids), "objects")
            sources[split] = CocoSource(root, listed, ids, targets, pixels)
    return replace(data_of(root, sources, notes, seed=seed), ids=tuple(ids))


def _read(file: Path) -> Json:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(found[key], list) for key in ("images", "annotations", "categories")):
            return found
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DataError(f"{file} is no COCO file; wanted: images, annotations and categories")


def _listed(root: Path, file: Path) -> Listed:
    found = _read(file)
    annotations: dict[Any, list[Json]] = {}
    for one in found["annotations"]:
        annotations.setdefault(one["image_id"], []).append(one)
    word = file.stem.partition("_")[2]
    split = re.sub(r"\d+$", "", word)
    bases = [root, *(root / name for name in IMAGES)]
    folders = [*(base / name for base in bases for name in (word, split)), *bases]
    if not found["images"]:
        raise DataError(f"{file} lists no picture")
    name = found["images"][0]["file_name"]
    for folder in folders:
        if (folder / name).is_file():
            return Listed(file, folder, found["images"], annotations)
    raise DataError(f"{file} lists {name!r}, which is not in {word}/, images/{word}/ or images/")


def _categories(listed: Listed, *, panoptic: bool) -> set[int]:
    rows = [one for found in listed.annotations.values() for one in found]
    wanted = "segments_info" if panoptic else "bbox"
    if not all(wanted in one for one in rows):
        raise DataError(f"{listed.file} has an annotation without {wanted}; add it, or remove it")
    parts = [s for one in rows for s in one["segments_info"]] if panoptic else rows
    return {one["category_id"] for one in parts}


def _with_map(listed: Listed, notes: list[str]) -> Listed:
    """Leave out pictures without a map of ids."""
    kept = [image for image in listed.images if image["id"] in listed.annotations]
    if lost := len(listed.images) - len(kept):
        notes.append(f"{listed.file.name}: {lost} pictures left out, without segments")
    return listed._replace(images=kept)


def _flat(listed: Listed) -> list[str]:
    """Note objects whose boxes have no area."""
    flat = sum(not _has_area(one) for found in listed.annotations.values() for one in found)
    return [f"{listed.file.name}: {flat} boxes without area left out"] if flat else []


def _rarest(listed: Listed, ids: Sequence[int]) -> Int64[np.ndarray, " n"]:
    """Return the rarest class among each picture's objects; 0 where it has none."""
    numbers = {id_: number for number, id_ in enumerate(ids)}
    there = [
        {numbers[one["category_id"]] for one in listed.annotations.get(image["id"], [])}
        for image in listed.images
    ]
    return rarest(there, len(ids))


def rarest(there: Sequence[set[int]], classes: int) -> Int64[np.ndarray, " n"]:
    """Return of each picture's classes the one that the fewest pictures have; 0 of none."""
    counts = np.bincount([label for labels in there for label in labels], minlength=classes)
    return np.array(
        [min(labels, key=lambda k: (counts[k], k), default=0) for labels in there], np.int64
    )
