"""Moving a picture and its scene alike: mirrored, resized, cut out or put on a larger canvas.

Pixels of a picture are interpolated; classes, ids, depths and the masks of objects are the nearest
pixel's. Boxes go along exactly; an object that is cut gets the box and area of what is left of its
mask, or of its box where it has none, and goes where nothing is left.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped, UInt8
from torch import Tensor

from patchword.data.frame import Interpolation, resize
from patchword.data.scene import VOID, Objects, Panoptic, Scene, boxes_of


class View(NamedTuple):
    """A picture and its scene, of one size."""

    image: UInt8[Tensor, "c h w"]
    scene: Scene

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.image.shape[-2], self.image.shape[-1])


def mirrored(view: View) -> View:
    """Exchange left and right."""
    scene, columns = view.scene, view.size[1]
    objects = scene.objects
    if objects is not None:
        left, top, right, bottom = objects.boxes.unbind(dim=1)
        boxes = torch.stack((columns - right, top, columns - left, bottom), dim=1)
        masks = None if objects.masks is None else objects.masks.flip(-1)
        objects = objects._replace(boxes=boxes, masks=masks)
    return View(
        view.image.flip(-1),
        replace(
            scene,
            mask=None if scene.mask is None else scene.mask.flip(-1),
            depth=None if scene.depth is None else scene.depth.flip(-1),
            panoptic=scene.panoptic and scene.panoptic._replace(ids=scene.panoptic.ids.flip(-1)),
            objects=objects,
        ),
    )


def sized(view: View, size: tuple[int, int], interpolation: Interpolation = "bilinear") -> View:
    """Resize to rows and columns; depths stay what they are, areas change with the scale."""
    if view.size == size:
        return view
    scene, objects = view.scene, view.scene.objects
    if objects is not None:
        grown = (size[0] * size[1]) / (view.size[0] * view.size[1])
        new, old = (torch.tensor([*sides[::-1]] * 2) for sides in (size, view.size))
        masks = None if objects.masks is None else _nearest(objects.masks, size)
        objects = objects._replace(
            boxes=objects.boxes * new / old, areas=objects.areas * grown, masks=masks
        )
        if masks is not None:
            objects = _only(objects, masks.flatten(1).any(dim=1))
    panoptic = scene.panoptic
    return View(
        resize(view.image, size, interpolation),
        replace(
            scene,
            mask=None if scene.mask is None else _nearest(scene.mask, size),
            depth=None if scene.depth is None else _nearest(scene.depth, size),
            panoptic=panoptic and _counted(panoptic, _nearest(panoptic.ids, size)),
            objects=objects,
        ),
    )


def cut(
    view: View, top: int, left: int, size: tuple[int, int], fill: tuple[int, ...] = (0,)
) -> View:
    """Cut out a window; what of it lies outside the picture is filled, and nothing is known there.

    Args:
        view: of any size.
        top: row of the window's first row, which may be negative.
        left: its first column.
        size: its rows and columns.
        fill: the colour outside: a level for all channels, or one each.
    """
    scene, window = view.scene, (top, left, *size)
    colour = torch.tensor(fill, dtype=torch.uint8).expand(len(view.image))
    image = torch.stack(
        [_cut(plane, window, int(level)) for plane, level in zip(view.image, colour, strict=True)]
    )
    panoptic = scene.panoptic
    return View(
        image,
        replace(
            scene,
            mask=None if scene.mask is None else _cut(scene.mask, window, VOID),
            depth=None if scene.depth is None else _cut(scene.depth, window, 0),
            panoptic=panoptic and _counted(panoptic, _cut(panoptic.ids, window, 0)),
            objects=scene.objects and _cut_objects(scene.objects, window),
        ),
    )


def _nearest(
    maps: Shaped[Tensor, "*n h w"], size: tuple[int, int]
) -> Shaped[Tensor, "*n rows columns"]:
    """Take of each new pixel's centre the old pixel that it lies in."""
    down, across = (
        ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for new, old in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., down[:, None], across]


def _cut(
    maps: Shaped[Tensor, "*n h w"], window: tuple[int, int, int, int], fill: int
) -> Shaped[Tensor, "*n rows columns"]:
    top, left, rows, columns = window
    inside = maps[..., max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
    before = (min(max(-left, 0), columns), min(max(-top, 0), rows))
    after = (columns - before[0] - inside.shape[-1], rows - before[1] - inside.shape[-2])
    return F.pad(inside, (before[0], after[0], before[1], after[1]), value=fill)


def _cut_objects(objects: Objects, window: tuple[int, int, int, int]) -> Objects:
    top, left, rows, columns = window
    moved = objects.boxes - torch.tensor([left, top, left, top])
    sides = torch.tensor([columns, rows, columns, rows])
    boxes = torch.minimum(moved.clamp(min=0), sides)
    was_cut = (boxes != moved).any(dim=1)
    masks = None
    left_over = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    if objects.masks is not None:
        masks = _cut(objects.masks, window, 0)
        left_over = masks.flatten(1).sum(dim=1).float()
        boxes = torch.where(was_cut[:, None], boxes_of(masks), boxes)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & (left_over > 0)
    areas = torch.where(was_cut, left_over, objects.areas)
    return _only(objects._replace(boxes=boxes, areas=areas, masks=masks), kept)


def _only(objects: Objects, kept: Bool[Tensor, " n"]) -> Objects:
    return Objects(
        boxes=objects.boxes[kept],
        labels=objects.labels[kept],
        crowd=objects.crowd[kept],
        areas=objects.areas[kept],
        masks=None if objects.masks is None else objects.masks[kept],
    )


def _counted(panoptic: Panoptic, ids: Shaped[Tensor, "h w"]) -> Panoptic:
    """Return the segments that a changed map still has; their areas are those in it."""
    there = set(ids.unique().tolist())
    segments = tuple(s._replace(area=None) for s in panoptic.segments if s.id in there)
    return Panoptic(ids, segments)
