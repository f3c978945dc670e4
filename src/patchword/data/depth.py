"""Depth maps beside pictures: whole numbers in a PNG of 16 bits, times a unit.

    train/frame-000000.color.jpg    train/frame-000000.depth.png      7-Scenes: millimetres
    rgb/1.png                       depth/1.png                       said in depth.json

`depth.json` says the unit in metres and which values count: {"unit": 0.001, "near": 0.1,
"far": 10}; TUM has 1 / 5000, KITTI 1 / 256. Without it, millimetres are read, and a note says so.
0 and 65535 are no readings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import torch

from patchword.data.columns import SPLIT_NAMES
from patchword.data.decode import decode_map
from patchword.data.folder import FolderSource, bytes_of, suffixes_of
from patchword.data.pairs import WHOLE, Beside, Pair, Pairs, data_of, find_pairs, with_both
from patchword.data.pixels import Pixels
from patchword.data.scene import Scene
from patchword.data.source import Data, Targets, digest
from patchword.errors import DataError

BESIDE = Beside(
    folders=("depth", "depths", "depth_maps"),
    suffixes=(".png", ".tif", ".tiff"),
    endings=("", "_depth", "-depth"),
    own=("", "_rgb", "-rgb", "_image", "_color", "-color"),
)
COLOUR, DEPTH = ".color", ".depth"  # before the suffix, in 7-Scenes
NO_READING = (0, 65535)


@dataclass(frozen=True, kw_only=True)
class DepthUnit:
    """What the numbers in a map of depths mean."""

    unit: float = 0.001  # metres
    near: float = 0.0  # in metres; what is not from near to far is no reading
    far: float = inf

    def __post_init__(self) -> None:
        if not (0 < self.unit < inf and 0 <= self.near < self.far):
            raise DataError(
                f"depths have unit {self.unit:g}, near {self.near:g}, far {self.far:g}; wanted: "
                "a unit above 0 in metres, and near below far"
            )


class DepthSource(FolderSource):
    """Picture files with a map of depths beside each.

    Args:
        root: the data set's folder.
        pairs: paths of pictures and maps, relative to it.
        unit: what the numbers in the maps mean.
        pixels: the contract.
    """

    def __init__(
        self, root: Path, pairs: Sequence[tuple[str, str]], unit: DepthUnit, pixels: Pixels
    ) -> None:
        targets = Targets(("depth",), np.zeros(len(pairs), np.int64), "depth")
        super().__init__(root, [picture for picture, _ in pairs], targets, pixels)
        self.maps, self.unit = tuple(map_ for _, map_ in pairs), unit

    def scene(self, index: int) -> Scene:
        header, name = self.header(index), self.maps[index]
        stored = decode_map(self.root / name, self.pixels, header, name=name)
        metres = stored * self.unit.unit
        known = ~np.isin(stored, NO_READING)
        known &= (metres >= self.unit.near) & (metres <= self.unit.far)
        depth = torch.from_numpy(np.where(known, metres, 0).astype(np.float32))
        return Scene(depth=depth).checked(header.size, self.name(index))

    def fingerprint(self) -> str:
        sizes = np.array([bytes_of(self.root / map_) for map_ in self.maps], dtype=np.int64)
        meant = np.array([self.unit.unit, self.unit.near, self.unit.far])
        return digest([super().fingerprint(), *self.maps], [sizes, meant])


def find_depth(root: Path, pixels: Pixels) -> Pairs:
    """Return pictures and maps of depths by split; nothing of another layout."""
    found: Pairs = {}
    splits = {path: SPLIT_NAMES.get(path.name.lower()) for path in root.iterdir() if path.is_dir()}
    for folder, split in {root: WHOLE, **splits}.items():
        if split and (pairs := _frames(root, folder, suffixes_of(pixels))):
            found[split] = pairs
    if found and ("train" in found or WHOLE in found):
        return found if "train" in found else {WHOLE: found[WHOLE]}
    return find_pairs(root, BESIDE, suffixes_of(pixels))


def _frames(root: Path, folder: Path, suffixes: tuple[str, ...]) -> list[Pair]:
    pairs: list[Pair] = []
    for path in sorted(folder.glob(f"*{COLOUR}.*")):
        if path.suffix.lower() in suffixes:
            beside = path.with_name(path.stem.removesuffix(COLOUR) + f"{DEPTH}.png")
            name = beside.relative_to(root).as_posix() if beside.is_file() else None
            pairs.append(Pair(path.relative_to(root).as_posix(), name))
    return pairs


def open_depth(root: Path, pairs: Pairs, pixels: Pixels, *, seed: int) -> Data:
    """Read the layout, but no picture.

    Args:
        root: the folder.
        pairs: as `find_depth` returns them.
        pixels: the contract.
        seed: of the split, where there is none.

    Raises:
        DataError: `depth.json` cannot be read.
    """
    kept, notes = with_both(pairs, "a map of depths")
    unit = DepthUnit()
    if (file := root / "depth.json").is_file():
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            unit = DepthUnit(**{key: float(value) for key, value in said.items()})
        except (ValueError, TypeError, AttributeError):
            raise DataError(f'{file} wants {{"unit": metres, "near": ..., "far": ...}}') from None
    elif COLOUR not in pairs[next(iter(pairs))][0].picture:
        notes.append("depths are read as millimetres; state another unit in depth.json")
    sources = {split: DepthSource(root, rows, unit, pixels) for split, rows in kept.items()}
    return data_of(root, sources, notes, seed=seed)
