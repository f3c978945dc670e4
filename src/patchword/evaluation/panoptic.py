"""Panoptic quality (Kirillov et al. 2019, arXiv:1801.00868), by the rules of panopticapi.

A segment of the truth and one of the answer match where they are of one class and their IoU is
above one half, which no two answers can be. Void and crowds are nobody's: pixels of an answer that
lie on void leave its union; an answer that matches nothing is no mistake where more than half of it
lies on void and on the crowd of its class (the last, of several); and a crowd is never missed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from patchword.data.scene import Segment
from patchword.errors import DataError, ShapeError

VOID = 0  # the id of pixels that are in no segment

IdMap = Integer[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True)
class PanopticQuality:
    """Quality, the mean IoU of what was recognised, and how well it was; from 0 to 1."""

    pq: float  # nan of no classes, as the others
    sq: float
    rq: float
    classes: int  # that the mean is over: those that the truth or the answers have


class Tally:
    """Sums of IoUs and counts of segments for each class, over pictures.

    Args:
        classes: how many there are.

    Attributes:
        iou: summed over the matches of each class.
        counts: rows: true positives, false positives, false negatives.
    """

    iou: Float64[np.ndarray, " classes"]
    counts: Int64[np.ndarray, "3 classes"]

    def __init__(self, classes: int) -> None:
        self.iou, self.counts = np.zeros(classes), np.zeros((3, classes), np.int64)

    def add(
        self,
        answer: IdMap,
        answered: Sequence[Segment],
        truth: Integer[np.ndarray, "H W"],
        segments: Sequence[Segment],
    ) -> None:
        """Count the segments of one picture.

        Args:
            answer: the id of each pixel's segment, 0 for none.
            answered: all segments in it.
            truth: as the answer; ids that are in no segment count as strange, not as void.
            segments: of the truth.

        Raises:
            ShapeError: the maps differ in size.
            DataError: a map of ids and its segments do not tally, or a class is unknown.
        """
        if answer.shape != truth.shape:
            raise ShapeError(
                f"the answer is of size {answer.shape}, the truth of {truth.shape}; resize the "
                "answer's map of ids to it, taking the nearest pixel"
            )
        sizes, shared = _areas(answer), _overlaps(truth, answer)
        unlisted = sorted(sizes.keys() - {VOID, *(segment.id for segment in answered)})
        if unlisted:
            raise DataError(f"the answer's map has id {unlisted[0]}, which is in no segment")
        found = _by_id(answered, sizes, len(self.iou), "the answer")
        real = _areas(truth) | {s.id: s.area for s in segments if s.area is not None}
        wanted = _by_id(segments, real, len(self.iou), "the truth")
        matched: set[int] = set()
        missed = {key for key, segment in wanted.items() if not segment.crowd}
        for (theirs, ours), both in shared.items():
            if theirs in missed and ours in found and wanted[theirs].label == found[ours].label:
                union = sizes[ours] + real[theirs] - both - shared.get((VOID, ours), 0)
                if both / union > 0.5:
                    self._matched(found[ours].label, both / union)
                    matched.add(ours)
                    missed.discard(theirs)
        for key in missed:
            self.counts[2, wanted[key].label] += 1
        crowds = {segment.label: key for key, segment in wanted.items() if segment.crowd}
        for key in found.keys() - matched:
            label = found[key].label
            free = shared.get((VOID, key), 0) + shared.get((crowds.get(label, -1), key), 0)
            self.counts[1, label] += int(free / sizes[key] <= 0.5)

    def _matched(self, label: int, iou: float) -> None:
        self.iou[label] += iou
        self.counts[0, label] += 1

    def per_class(self) -> Float64[np.ndarray, "3 classes"]:
        """Return PQ, SQ and RQ of each class; nan where neither truth nor answers have it."""
        hits, strays, missed = self.counts.astype(np.float64)
        weight = hits + strays / 2 + missed / 2
        there = weight > 0
        safe = np.where(there, weight, 1)
        quality = np.stack((self.iou / safe, self.iou / np.maximum(hits, 1), hits / safe))
        return np.where(there, quality, np.nan)

    def score(self, among: Iterable[int] | None = None) -> PanopticQuality:
        """Return the means over classes.

        Args:
            among: the classes, as those of things or of stuff; None: all.
        """
        chosen = list(range(len(self.iou)) if among is None else among)
        quality = self.per_class()[:, chosen]
        there = quality[:, ~np.isnan(quality[0])]
        classes = there.shape[1]
        pq, sq, rq = there.mean(axis=1).tolist() if classes else [float("nan")] * 3
        return PanopticQuality(pq=pq, sq=sq, rq=rq, classes=classes)


def _areas(ids: IdMap) -> dict[int, int]:
    keys, counts = np.unique(ids, return_counts=True)
    return dict(zip(keys.tolist(), counts.tolist(), strict=True))


def _overlaps(truth: IdMap, answer: IdMap) -> dict[tuple[int, int], int]:
    """Return how many pixels each pair of ids shares, in the order of the ids."""
    ours, ours_at = np.unique(answer, return_inverse=True)
    theirs, theirs_at = np.unique(truth, return_inverse=True)
    pairs, counts = np.unique(theirs_at * len(ours) + ours_at, return_counts=True)
    first, second = np.divmod(pairs, len(ours))
    keys = zip(theirs[first].tolist(), ours[second].tolist(), strict=True)
    return dict(zip(keys, counts.tolist(), strict=True))


def _by_id(
    segments: Sequence[Segment], areas: Mapping[int, int], classes: int, name: str
) -> dict[int, Segment]:
    """Return segments by id, once they are seen to be what the map holds."""
    found = {segment.id: segment for segment in segments}
    absent = sorted(found.keys() - areas.keys())
    if absent:
        raise DataError(f"{name} lists segment {absent[0]}, of which its map has no pixel")
    strange = next((s for s in segments if not 0 <= s.label < classes), None)
    if strange is not None:
        raise DataError(
            f"{name}'s segment {strange.id} is of class {strange.label}; wanted: 0 to {classes - 1}"
        )
    return found
