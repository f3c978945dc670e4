"""Data sets of scenes: which of the layouts a folder has, and which part of its scenes is meant."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from patchword.data.coco import find_coco, open_coco
from patchword.data.depth import find_depth, open_depth
from patchword.data.masks import find_masks, open_masks
from patchword.data.pixels import Pixels
from patchword.data.source import Data, Kind
from patchword.data.voc import find_voc, open_voc
from patchword.data.yolo import find_yolo, open_yolo
from patchword.errors import DataError

KINDS: tuple[Kind, ...] = ("panoptic", "objects", "mask", "depth")  # the richest first
Opened: TypeAlias = Callable[[], Data]


def open_scenes(root: Path, pixels: Pixels, *, seed: int, kind: Kind | None = None) -> Data | None:
    """Recognise a folder of scenes and open it.

    Args:
        root: the folder.
        pixels: the contract.
        seed: of the split, where there is none.
        kind: the part of its scenes that is meant; None: the richest that it has.

    Returns:
        None where the folder has no scenes; that is an error if a kind is named.

    Raises:
        DataError: something is missing or broken.
    """
    ways = dict[Kind, Opened]()
    for found, opened in _ways(root, pixels, seed):
        ways.setdefault(found, opened)
    if kind is not None:
        if kind not in ways:
            has = f"it has: {', '.join(ways)}" if ways else "name a folder that has"
            raise DataError(f"{root} has no {kind} beside its pictures; {has}")
        return ways[kind]()
    return next((ways[one]() for one in KINDS if one in ways), None)


def _ways(root: Path, pixels: Pixels, seed: int) -> Iterator[tuple[Kind, Opened]]:
    """Yield what a folder can be opened as, and how; of one kind, the best way first."""
    if files := find_coco(root, "panoptic"):
        yield "panoptic", partial(open_coco, root, files, pixels, seed=seed)
    if files := find_coco(root, "instances"):
        yield "objects", partial(open_coco, root, files, pixels, seed=seed)
    if folder := find_voc(root):
        yield "objects", partial(open_voc, folder, pixels, seed=seed)
    if pairs := find_yolo(root, pixels):
        yield "objects", partial(open_yolo, root, pairs, pixels, seed=seed)
    if pairs := find_masks(root, pixels):
        yield "mask", partial(open_masks, root, pairs, pixels, seed=seed)
    if pairs := find_depth(root, pixels):
        yield "depth", partial(open_depth, root, pairs, pixels, seed=seed)
