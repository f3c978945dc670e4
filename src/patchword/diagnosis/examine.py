"""One pass over a data set: every picture is opened and decoded once, and little of it is kept."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from patchword.data import Data, Source, Subset
from patchword.data.decode import Header
from patchword.data.loader import cores, loader
from patchword.data.scene import VOID, Scene
from patchword.data.source import ArraySource
from patchword.errors import ImageError

SIDE = 16  # pixels of the small copy that is kept of a picture
FLAT = 8  # levels, of 255, that the pixels of a constant picture may spread over: JPEG's noise
PICTURES = 32  # per item of the loader
FEW = 1000  # pictures for which no process is started

Watch = Callable[[str, int, int], None]  # what is done, to how many pictures, and of how many


@dataclass(frozen=True)
class Looked:
    """What is kept of one picture; of one that cannot be read, the reason."""

    header: Header
    digest: bytes = b""  # of the upright pixels and their shape
    spread: int = 0  # the largest less the least level, of the channel where that is largest
    small: UInt8[np.ndarray, "s s 3"] | None = None  # its pixels' means over a grid
    error: str = ""
    scene_error: str = ""  # why what is known of its places cannot be used
    classes: tuple[int, ...] | None = None  # that its scene shows; None: it has none


@dataclass(frozen=True)
class Examined:
    """A row per picture, split after split; all arrays are in that order."""

    data: Data
    rows: tuple[Looked, ...]

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The splits that there are, by name."""
        data = self.data
        splits = {"train": data.train, "validation": data.validation, "test": data.test}
        return {name: source for name, source in splits.items() if source is not None}

    @cached_property
    def starts(self) -> Int[np.ndarray, " starts"]:
        """The row at which each split begins, and the number of all."""
        return np.cumsum([0, *map(len, self.sources.values())])

    @cached_property
    def split(self) -> Int[np.ndarray, " n"]:
        """Which split each picture is in."""
        return np.repeat(np.arange(len(self.sources)), list(map(len, self.sources.values())))

    @cached_property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The class of each picture."""
        return np.concatenate([source.labels for source in self.sources.values()])

    @cached_property
    def readable(self) -> Bool[np.ndarray, " n"]:
        """Whether each picture could be decoded."""
        return np.array([not row.error for row in self.rows], dtype=bool)

    @cached_property
    def constant(self) -> Bool[np.ndarray, " n"]:
        """Whether each picture shows one colour and nothing else."""
        flat = np.array([row.spread <= FLAT for row in self.rows], dtype=bool)
        return flat & self.readable

    def locate(self, row: int) -> tuple[str, Source, int]:
        """Return the split of a row, its source, and the picture's number in it."""
        split = int(self.split[row])
        name = list(self.sources)[split]
        return name, self.sources[name], row - int(self.starts[split])

    def name(self, row: int) -> str:
        """Return what a report calls a picture."""
        _, source, index = self.locate(row)
        return source.name(index)

    def label(self, row: int) -> str:
        """Return what is known of a picture, in words."""
        _, source, index = self.locate(row)
        there = self.rows[row].classes
        if source.kind == "depth" and there is not None:
            return "depths" if there else "no depth"
        if there is not None:
            return ", ".join(source.classes[number] for number in there) or "nothing"
        if source.targets is None:
            return source.classes[int(source.labels[index])]
        weights = zip(source.classes, source.targets[index].tolist(), strict=True)
        if source.kind == "labels":
            return ", ".join(name for name, weight in weights if weight) or "no label"
        return ", ".join(f"{n} {w:.4g}" for n, w in weights if w or source.kind == "values")

    def known(self, row: int) -> bytes:
        """Return what is known of a picture, to be held against what is known of another."""
        _, source, index = self.locate(row)
        held = source.labels if source.targets is None else source.targets
        return held[index].tobytes()


class _Items(Dataset[list[Looked]]):
    """The pictures of a source, so many per item."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return -(-len(self.source) // PICTURES)

    def __getitem__(self, item: int) -> list[Looked]:
        stop = min((item + 1) * PICTURES, len(self.source))
        return [look_at(self.source, index) for index in range(item * PICTURES, stop)]


def examine(data: Data, *, workers: int | None = None, watch: Watch | None = None) -> Examined:
    """Open and decode every picture once.

    Args:
        data: is only read.
        workers: processes that decode; by the number of pictures and cores if not said.
        watch: is told how far it is.
    """
    empty = Examined(data, ())
    total, rows = int(empty.starts[-1]), list[Looked]()
    for source in empty.sources.values():
        items = _Items(source)
        count = enough(source) if workers is None else workers
        for found in loader(items, start=0, stop=len(items), workers=count):
            rows += found
            if watch is not None:
                watch("looking at pictures", len(rows), total)
    return Examined(data, tuple(rows))


def look_at(source: Source, index: int) -> Looked:
    """Read one picture, and keep what tells it apart."""
    from PIL import Image

    try:
        header, pixels = source.with_header(index)
    except ImageError as error:
        return Looked(Header("", (0, 0)), error=str(error))
    levels = np.ascontiguousarray(pixels.expand(3, -1, -1).permute(1, 2, 0).numpy())
    hashed = hashlib.blake2b(levels.data, digest_size=16, key=str(levels.shape).encode())
    image = Image.fromarray(levels)
    reach: Any = image.getextrema()  # of each channel
    spread = max(high - low for low, high in reach)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    looked = Looked(header, hashed.digest(), spread, small)
    try:
        return replace(looked, classes=classes_in(source.scene(index)))
    except ImageError as error:
        return replace(looked, scene_error=str(error))


def classes_in(scene: Scene) -> tuple[int, ...] | None:
    """Return the classes that a scene shows: none where nothing is known of any place.

    A reading of depth is class 0. None: it is no scene.
    """
    if scene.objects is not None:
        return tuple(scene.objects.labels.unique().tolist())
    if scene.panoptic is not None:
        return tuple(sorted({segment.label for segment in scene.panoptic.segments}))
    if scene.mask is not None:
        return tuple(value for value in scene.mask.unique().tolist() if value != VOID)
    if scene.depth is not None:
        return (0,) if scene.depth.any() else ()
    return None


def pixels_of(examined: Examined, row: int) -> UInt8[Tensor, "c h w"]:
    """Read a picture once more, to show it."""
    _, source, index = examined.locate(row)
    return source.read(index)


def enough(source: Source) -> int:
    """Return how many processes are worth while for a source's pictures; 0 is a thread."""
    while isinstance(source, Subset):
        source = source.source
    if isinstance(source, ArraySource) or len(source) < FEW:
        return 0
    return min(cores(), 8)
