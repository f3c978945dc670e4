"""A scene: what is known of a picture place by place, beside or instead of its label.

Everything is in the pixels of the picture as `Source.read` returns it: upright, at its own size.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int32, Int64, UInt8
from torch import Tensor

from patchword.errors import ImageError

VOID = 255  # the class of pixels of which nobody knows it


class Objects(NamedTuple):
    """Things in a picture, each with its box."""

    boxes: Float32[Tensor, "n 4"]  # left, top, right, bottom; every one has an area
    labels: Int64[Tensor, " n"]
    crowd: Bool[Tensor, " n"]  # many at once, or too hard to tell: neither learnt nor counted
    areas: Float32[Tensor, " n"]  # in square pixels, as the file has them: of masks if it has any
    masks: Bool[Tensor, "n h w"] | None = None


class Segment(NamedTuple):
    """A part of a picture that is one thing, one kind of stuff, or a crowd."""

    id: int  # its pixels' value in the map of ids
    label: int  # its class
    crowd: bool = False  # it is many things that nobody told apart
    area: int | None = None  # of the truth, as its file has it, which panopticapi believes; None:
    # the pixels in the map


class Panoptic(NamedTuple):
    """A picture parted into segments that do not overlap."""

    ids: Int32[Tensor, "h w"]  # 0 where a pixel is in no segment
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is known of a picture, place by place; a part that nobody noted is None."""

    mask: UInt8[Tensor, "h w"] | None = None  # the class of each pixel, or `VOID`
    objects: Objects | None = None
    panoptic: Panoptic | None = None
    depth: Float32[Tensor, "h w"] | None = None  # in metres; 0 where there is no reading

    def checked(self, size: tuple[int, int], name: str) -> "Scene":
        """Return the scene, once it is seen to be of its picture's size.

        Raises:
            ImageError: it is not; the message names the picture.
        """
        masks = self.objects.masks if self.objects else None
        maps = (self.mask, self.depth, masks, self.panoptic.ids if self.panoptic else None)
        for found in maps:
            if found is not None and tuple(found.shape[-2:]) != size:
                rows, columns = found.shape[-2:]
                raise ImageError(
                    f"{name}: its map is {columns} x {rows} pixels, the picture {size[1]} x "
                    f"{size[0]}; make them of one size"
                )
        return self


def objects_from(
    rows: list[tuple[tuple[float, float, float, float], int, bool, float]],
    masks: Bool[Tensor, "n h w"] | None = None,
) -> Objects:
    """Return objects from rows of box, class, crowd and area; also of none."""
    return Objects(
        boxes=torch.tensor([box for box, *_ in rows], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([label for _, label, *_ in rows], dtype=torch.int64),
        crowd=torch.tensor([crowd for *_, crowd, _ in rows], dtype=torch.bool),
        areas=torch.tensor([area for *_, area in rows], dtype=torch.float32),
        masks=masks,
    )


def boxes_of(masks: Bool[Tensor, "n h w"]) -> Float32[Tensor, "n 4"]:
    """Return the boxes of masks: from the first pixel's near edge to the last one's far edge.

    An empty mask has the box 0, 0, 0, 0.
    """
    found = torch.zeros(len(masks), 4)
    for axis, (near, far) in ((1, (0, 2)), (2, (1, 3))):
        there = masks.any(dim=axis)
        length = there.shape[1]
        some = there.any(dim=1)
        first, last = there.int().argmax(dim=1), length - there.flip(1).int().argmax(dim=1)
        found[:, near], found[:, far] = first * some, last * some
    return found


def mask_of(panoptic: Panoptic) -> UInt8[Tensor, "h w"]:
    """Return the class of each pixel; `VOID` in no segment, and in crowds as in things."""
    labels = dict.fromkeys(panoptic.ids.unique().tolist(), VOID)
    labels |= {segment.id: segment.label for segment in panoptic.segments if segment.id in labels}
    keys = torch.tensor(sorted(labels), dtype=torch.int32)
    values = torch.tensor([labels[key] for key in sorted(labels)], dtype=torch.uint8)
    return values[torch.searchsorted(keys, panoptic.ids.contiguous())]


def objects_of(panoptic: Panoptic, among: Collection[int]) -> Objects:
    """Return the segments of some classes, as of things, as objects with masks.

    Args:
        panoptic: of a picture; segments without a pixel are left out.
        among: the classes.
    """
    chosen = [segment for segment in panoptic.segments if segment.label in among]
    ids = torch.tensor([segment.id for segment in chosen], dtype=torch.int32)
    masks = panoptic.ids == ids[:, None, None]
    there = masks.flatten(1).any(dim=1)
    masks, chosen = (
        masks[there],
        [s for s, seen in zip(chosen, there.tolist(), strict=True) if seen],
    )
    pixels = masks.flatten(1).sum(dim=1).tolist()
    boxes = [(box[0], box[1], box[2], box[3]) for box in boxes_of(masks).tolist()]
    rows = [
        (box, s.label, s.crowd, float(count if s.area is None else s.area))
        for box, s, count in zip(boxes, chosen, pixels, strict=True)
    ]
    return objects_from(rows, masks)
