"""Panoptic quality of how a model parts pictures: of all classes, of things, of stuff, of each.

What was taken for what is counted in pixels, by their classes; a row and a column more are of
pixels that are in no segment, of the answer alone: those of the truth count nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from patchword.data import Kind
from patchword.data.scene import Panoptic, Segment
from patchword.evaluation.answers import relabelled
from patchword.evaluation.looker import Parter
from patchword.evaluation.panoptic import Tally
from patchword.evaluation.protocol import ClassScore, Finding, Judged, Protocol, Score
from patchword.heads.panoptic import Parts
from patchword.predictor import Card

PARTS = ("PQ", "SQ", "RQ")


@dataclass(frozen=True, kw_only=True)
class Quality(Protocol):
    """PQ, and what it is the product of: SQ of what was recognised, and RQ, how well it was."""

    wants: ClassVar[tuple[Kind, ...]] = ("panoptic",)

    def __call__(self, subject: Parter, data: Judged) -> Finding:
        """Score the segments of all pictures, at their own resolution."""
        source, card = data.test, subject.card
        numbers = relabelled(torch.arange(len(source.classes)), source, card)
        total = Tally(card.num_classes)
        confusion = np.zeros((card.num_classes + 1,) * 2, np.int64)
        unreadable: list[str] = []
        pictures: list[tuple[int, float]] = []
        for each in subject.scenes(source):
            if isinstance(each, str):
                unreadable.append(each)
                continue
            assert each.scene.panoptic is not None
            truth, found = numbered(each.scene.panoptic, numbers), subject.parts(each.picture)
            own = Tally(card.num_classes)
            own.add(found.ids.numpy(), segments(found), truth.ids.numpy(), truth.segments)
            total.iou += own.iou
            total.counts += own.counts
            confusion += confused(found, truth, card.num_classes)
            if own.counts.any():
                pictures.append((each.number, own.score().pq))
        things = {int(numbers[number]) for number in source.things}
        return Finding(
            data=data.name,
            split=data.split,
            count=len(source) - len(unreadable),
            scores=scores_of(total, things, card),
            notes=(subject.said(source),),
            unreadable=tuple(unreadable),
            per_class=per_class(total),
            counted="segments",
            pictures=tuple(pictures),
            confusion=confusion,
        )


def numbered(truth: Panoptic, numbers: Int64[Tensor, " classes"]) -> Panoptic:
    """Return the segments of a picture, as the model numbers their classes."""
    changed = (segment._replace(label=int(numbers[segment.label])) for segment in truth.segments)
    return truth._replace(segments=tuple(changed))


def segments(parts: Parts) -> tuple[Segment, ...]:
    """List the segments of an answer."""
    return tuple(Segment(k + 1, label) for k, label in enumerate(parts.labels.tolist()))


def confused(found: Parts, truth: Panoptic, classes: int) -> Int64[np.ndarray, "k k"]:
    """Count pixels by their class and by the answer's, the last of which is none."""
    answers = np.append(classes, found.labels.numpy())[found.ids.numpy()]
    known = {segment.id: segment.label for segment in truth.segments}
    ids, places = np.unique(truth.ids.numpy(), return_inverse=True)
    labels = np.array([known.get(key, -1) for key in ids.tolist()])[places].reshape(answers.shape)
    there = labels >= 0
    pairs = labels[there] * (classes + 1) + answers[there]
    return np.bincount(pairs, minlength=(classes + 1) ** 2).reshape((classes + 1,) * 2)


def scores_of(total: Tally, things: set[int], card: Card) -> tuple[Score, ...]:
    """Return what tables and logs show: of all, of things, of stuff, then of each class."""
    names = card.names
    stuff = {*range(card.num_classes)} - things
    groups = {"": None, " things": sorted(things), " stuff": sorted(stuff)}
    means = {name: total.score(among) for name, among in groups.items()}
    quality = total.per_class()
    return (
        *(
            Score(name=f"{part}{name}", value=value)
            for name, mean in means.items()
            for part, value in zip(PARTS, (mean.pq, mean.sq, mean.rq), strict=True)
        ),
        *(
            Score(name=f"class {part}", value=float(row[number]), under=name)
            for number, name in enumerate(names)
            for part, row in zip(PARTS, quality, strict=True)
        ),
    )


def per_class(total: Tally) -> tuple[ClassScore, ...]:
    """Return how the segments of each class fared; a thing is found where its IoU is above half."""
    hits, strays, missed = total.counts.astype(np.float64)
    rows: Sequence[np.ndarray] = (hits, strays, missed, *total.per_class())
    return tuple(
        ClassScore(
            count=int(right + lost),
            recall=right / (right + lost) if right + lost else float("nan"),
            precision=right / (right + stray) if right + stray else float("nan"),
            measures=tuple(zip(PARTS, quality, strict=True)),
        )
        for right, stray, lost, *quality in zip(*(row.tolist() for row in rows), strict=True)
    )


PROTOCOL = Quality()
