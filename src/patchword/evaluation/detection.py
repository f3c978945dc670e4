"""Average precision of boxes or masks: COCO's twelve numbers, and the curves behind them.

The rules are those of pycocotools' `COCOeval`, written out in numpy: answers are taken from the
surest down, each takes the free object that it overlaps most, crowds may be taken often, and who
takes a crowd, or an object outside a range of areas, is neither right nor wrong. One departure: an
object whose id is 0 may be taken like any other (there it counts as not taken).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from patchword.errors import DataError

AREAS = {  # in square pixels, both ends included
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
MOST = (1, 10, 100)  # answers of a class in a picture that count
_EDGE = 1 - 1e-10  # an overlap of 1 is to be reached in spite of rounding


@cache
def ious() -> Float64[np.ndarray, " ious"]:
    """Return the overlaps from which an object counts as found, to the bit as pycocotools'."""
    return np.linspace(0.5, 0.95, 10)


@cache
def recalls() -> Float64[np.ndarray, " recalls"]:
    """Return the recalls at which precision is read, to the bit as pycocotools'."""
    return np.linspace(0, 1, 101)


class Objects(NamedTuple):
    """What is in a picture. Boxes are x, y, width, height in pixels, as in COCO's files."""

    labels: Int64[np.ndarray, " n"]
    boxes: Float64[np.ndarray, "n 4"]
    areas: Float64[np.ndarray, " n"]  # as the file has them: of masks, also where boxes are scored
    crowd: Bool[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"] | None = None


class Detections(NamedTuple):
    """What a model says is in a picture; boxes as in `Objects`."""

    labels: Int64[np.ndarray, " n"]
    scores: Float64[np.ndarray, " n"]
    boxes: Float64[np.ndarray, "n 4"]
    masks: Bool[np.ndarray, "n h w"] | None = None


class _Match(NamedTuple):
    """The surest answers of a class in a picture, surest first; and its objects."""

    scores: Float64[np.ndarray, " d"]
    hit: Bool[np.ndarray, "areas ious d"]
    ignored: Bool[np.ndarray, "areas ious d"]
    objects: Int64[np.ndarray, " areas"]  # that are to be found


@dataclass(frozen=True, kw_only=True)
class AveragePrecision:
    """Curves by overlap, recall, class, range of areas and number of answers; -1: no object."""

    precision: Float64[np.ndarray, "ious recalls classes areas most"]
    recall: Float64[np.ndarray, "ious classes areas most"]
    scores: Float64[np.ndarray, "ious recalls classes areas most"]  # from which each is reached

    @property
    def numbers(self) -> dict[str, float]:
        """Return COCO's twelve, in its order and by its names; -1 where nothing is defined."""
        precision, recall, half = self.precision[..., -1], self.recall, self.precision[0, ..., -1]
        return {
            "AP": _mean(precision[:, :, :, 0]),
            "AP50": _mean(half[:, :, 0]),
            "AP75": _mean(precision[5, :, :, 0]),
            "APs": _mean(precision[:, :, :, 1]),
            "APm": _mean(precision[:, :, :, 2]),
            "APl": _mean(precision[:, :, :, 3]),
            "AR1": _mean(recall[:, :, 0, 0]),
            "AR10": _mean(recall[:, :, 0, 1]),
            "AR100": _mean(recall[:, :, 0, 2]),
            "ARs": _mean(recall[:, :, 1, 2]),
            "ARm": _mean(recall[:, :, 2, 2]),
            "ARl": _mean(recall[:, :, 3, 2]),
        }

    @property
    def per_class(self) -> Float64[np.ndarray, " classes"]:
        """Return the AP of each class over all overlaps; -1 where it has no object."""
        return np.array([_mean(curve) for curve in self.precision[..., 0, -1].transpose(2, 0, 1)])


class Detection:
    """Matches of answers and objects, picture by picture.

    Pictures come in the order of their ids, if figures are to equal pycocotools' where answers of
    several pictures are equally sure.

    Args:
        classes: how many there are.
        masks: score masks rather than boxes.
    """

    def __init__(self, classes: int, *, masks: bool = False) -> None:
        self.classes, self.masks = classes, masks
        self.matches: list[list[_Match]] = [[] for _ in range(classes)]

    def add(self, found: Detections, objects: Objects) -> None:
        """Match the answers of one picture with what is in it.

        Raises:
            DataError: masks are to be scored and lack, or a class is unknown.
        """
        for name, labels in (("an answer", found.labels), ("an object", objects.labels)):
            if labels.size and not 0 <= labels.min() <= labels.max() < self.classes:
                strange = labels[(labels < 0) | (labels >= self.classes)][0]
                raise DataError(f"{name} is of class {strange}; wanted: 0 to {self.classes - 1}")
        if self.masks and (found.masks is None or objects.masks is None):
            raise DataError("masks are to be scored, but a picture has none; score boxes")
        for label in np.union1d(found.labels, objects.labels).tolist():
            ours, theirs = found.labels == label, np.flatnonzero(objects.labels == label)
            order = np.argsort(-found.scores[ours], kind="stable")[: MOST[-1]]
            kept = np.flatnonzero(ours)[order]
            crowd = objects.crowd[theirs]
            if self.masks:
                assert found.masks is not None and objects.masks is not None
                overlap = mask_iou(found.masks[kept], objects.masks[theirs], crowd)
                areas = found.masks[kept].sum(axis=(1, 2)).astype(np.float64)
            else:
                overlap = box_iou(found.boxes[kept], objects.boxes[theirs], crowd)
                areas = found.boxes[kept, 2] * found.boxes[kept, 3]
            match = _matched(overlap, areas, objects.areas[theirs], crowd)
            self.matches[label].append(match._replace(scores=found.scores[kept]))

    def score(self) -> AveragePrecision:
        """Return the curves of the pictures so far."""
        shape = (len(ious()), len(recalls()), self.classes, len(AREAS), len(MOST))
        precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
        recall = np.full(shape[:1] + shape[2:], -1.0)
        for label, matches in enumerate(self.matches):
            for number, most in enumerate(MOST):
                for area in range(len(AREAS)):
                    curves = _curves(matches, area, most)
                    if curves is not None:
                        place = (slice(None), label, area, number)
                        recall[place] = curves[0]
                        precision[:, :, label, area, number] = curves[1]
                        scores[:, :, label, area, number] = curves[2]
        return AveragePrecision(precision=precision, recall=recall, scores=scores)

    def operating_point(self) -> tuple[float, float]:
        """Return the score from which answers are best kept, and their F1 at an overlap of half.

        All answers count alike, whatever their class. Without a right one, nothing is kept.
        """
        matches = [match for some in self.matches for match in some]
        objects = sum(int(match.objects[0]) for match in matches)
        scores = np.concatenate([np.empty(0), *(match.scores for match in matches)])
        order = np.argsort(-scores, kind="stable")
        hit, ignored = (
            np.concatenate([np.empty(0, bool), *(part[0, 0] for part in parts)])[order]
            for parts in ([m.hit for m in matches], [m.ignored for m in matches])
        )
        right, wrong = np.cumsum(hit & ~ignored), np.cumsum(~hit & ~ignored)
        if not len(order) or not right[-1]:
            return 1.0, 0.0 if objects else float("nan")
        f1 = 2 * right / np.maximum(right + wrong + objects, 1)
        together = np.append(scores[order][1:] == scores[order][:-1], False)
        best = int(np.argmax(np.where(together, -1, f1)))
        return float(scores[order][best]), float(f1[best])


def box_iou(
    found: Float64[np.ndarray, "d 4"],
    objects: Float64[np.ndarray, "g 4"],
    crowd: Bool[np.ndarray, " g"],
) -> Float64[np.ndarray, "d g"]:
    """Return overlaps of boxes; with a crowd, the share of the answer that lies in it."""
    low = np.maximum(found[:, None, :2], objects[:, :2])
    high = np.minimum(found[:, None, 2:] + found[:, None, :2], objects[:, 2:] + objects[:, :2])
    sides = high - low
    both = np.where((sides > 0).all(axis=2), sides[..., 0] * sides[..., 1], 0.0)
    own, theirs = found[:, 2] * found[:, 3], objects[:, 2] * objects[:, 3]
    union = np.where(crowd, own[:, None], own[:, None] + theirs - both)
    return np.where(both > 0, both / np.where(both > 0, union, 1), 0.0)


def mask_iou(
    found: Bool[np.ndarray, "d h w"],
    objects: Bool[np.ndarray, "g h w"],
    crowd: Bool[np.ndarray, " g"],
) -> Float64[np.ndarray, "d g"]:
    """Return overlaps of masks, as `box_iou` those of boxes; looks at an object's box alone."""
    overlap = np.zeros((len(found), len(objects)))
    sizes = found.sum(axis=(1, 2))
    for column, mask in enumerate(objects):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            both = (found[:, *part] & mask[part]).sum(axis=(1, 2))
            union = sizes if crowd[column] else sizes + mask.sum() - both
            overlap[:, column] = both / np.maximum(union, 1)
    return overlap


def _matched(
    overlap: Float64[np.ndarray, "d g"],
    found_areas: Float64[np.ndarray, " d"],
    areas: Float64[np.ndarray, " g"],
    crowd: Bool[np.ndarray, " g"],
) -> _Match:
    """Let answers take objects, for each range of areas and each least overlap at once."""
    low, high = np.array(list(AREAS.values())).T[..., None]
    outside = (areas < low) | (areas > high)
    ignored = outside | crowd
    least = np.minimum(ious(), _EDGE)
    shape = (len(AREAS), len(ious()), len(overlap))
    hit, left_out = np.zeros(shape, bool), np.zeros(shape, bool)
    taken = np.zeros((*shape[:2], len(areas)), bool)
    for row in np.flatnonzero((overlap >= least[0]).any(axis=1)).tolist():
        reached = overlap[row]
        free = (~taken | crowd) & (reached >= least[:, None])
        wanted = free & ~ignored[:, None]  # an ignored object is taken only where there is no other
        chosen = np.where(wanted.any(axis=2, keepdims=True), wanted, free)
        any_chosen = chosen.any(axis=2)
        if any_chosen.any():
            # of equal overlaps, the last
            worth = np.where(chosen, reached, -1.0)[..., ::-1]
            best = len(areas) - 1 - worth.argmax(axis=2)
            hit[..., row] = any_chosen
            left_out[..., row] = any_chosen & np.take_along_axis(ignored, best, axis=1)
            a, t = np.nonzero(any_chosen)
            taken[a, t, best[a, t]] = True
    strange = (found_areas < low) | (found_areas > high)
    left_out |= ~hit & strange[:, None]
    return _Match(np.empty(0), hit, left_out, (~ignored).sum(axis=1))


def _curves(
    matches: Sequence[_Match], area: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return a class's recall, its precision at each of `recalls`, and the scores there."""
    objects = sum(int(match.objects[area]) for match in matches)
    if not objects:
        return None
    scores = np.concatenate([match.scores[:most] for match in matches])
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    hit, left_out = (
        np.concatenate([part[area, :, :most] for part in parts], axis=1)[:, order]
        for parts in (
            [match.hit for match in matches],
            [match.ignored for match in matches],
        )
    )
    right = np.cumsum(hit & ~left_out, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hit & ~left_out, axis=1, dtype=np.float64)
    reached = right / objects
    precise = right / (right + wrong + np.spacing(1))
    precise = np.maximum.accumulate(precise[:, ::-1], axis=1)[:, ::-1]
    precision, at = (np.zeros((len(ious()), len(recalls()))) for _ in range(2))
    for row in range(len(ious())):
        places = np.searchsorted(reached[row], recalls(), side="left")
        there = places < len(scores)
        precision[row, there] = precise[row, places[there]]
        at[row, there] = scores[places[there]]
    recall = reached[:, -1] if len(scores) else np.zeros(len(ious()))
    return recall, precision, at


def _mean(values: np.ndarray) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0
