"""Objects and segments in colours: what is true of a picture, and what was answered."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from patchword.data import Source
from patchword.data.scene import Objects, Panoptic
from patchword.evaluation.answers import relabelled
from patchword.heads.detector import Answers
from patchword.heads.panoptic import Parts
from patchword.pages.overlays import LARGER, boxed, segmented, thumbnail
from patchword.predictor import Card

Colours = UInt8[np.ndarray, "h w 3"]
Small = UInt8[np.ndarray, "rows columns 3"]


def numbers_of(source: Source, card: Card) -> Int[Tensor, " classes"]:
    """Return the model's number of each of a source's classes."""
    return relabelled(torch.arange(len(source.classes)), source, card)


def kept(answers: Answers, least: float) -> Answers:
    """Return the answers whose scores are high enough."""
    sure = answers.scores >= least
    return Answers(answers.scores[sure], answers.labels[sure], answers.boxes[sure])


def spotted(picture: Colours, answers: Answers, names: Sequence[str]) -> Colours:
    """Draw answers with their classes and scores."""
    words = [
        f"{names[label]} {score:.2f}"
        for label, score in zip(answers.labels.tolist(), answers.scores.tolist(), strict=True)
    ]
    return boxed(picture, answers.boxes.double().numpy(), answers.labels.numpy(), words)


def small_boxes(picture: Colours, found: Answers | Objects, labels: Int[Tensor, " n"]) -> Small:
    """Draw boxes on a picture of the size that a page shows, without words."""
    reduced = thumbnail(picture)
    sides = [new / old for new, old in zip(reduced.shape[1::-1], picture.shape[1::-1], strict=True)]
    return boxed(reduced, found.boxes.double().numpy() * [*sides, *sides], labels.numpy())


def small_truth(picture: Colours, known: Objects, numbers: Int[Tensor, " classes"]) -> Small:
    """Draw what is in a picture, each by itself: crowds are left out."""
    single = known._replace(boxes=known.boxes[~known.crowd], labels=known.labels[~known.crowd])
    return small_boxes(picture, single, numbers[single.labels])


def parted(picture: Colours, parts: Parts, names: Sequence[str] = ()) -> Colours:
    """Draw segments, with the names of their classes where there are any."""
    labels = parts.labels.tolist()
    words = [names[int(label)] for label in labels] if names else ()
    return segmented(picture, parts.ids.numpy(), parts.labels.numpy(), words)


def small_parts(picture: Colours, parts: Parts, names: Sequence[str]) -> Small:
    """Draw segments on a picture of the size that a page shows, with words that are read there."""
    reduced = thumbnail(picture)
    rows, columns = (
        torch.arange(new) * old // new
        for new, old in zip(reduced.shape[:2], picture.shape[:2], strict=True)
    )
    ids, words = parts.ids[rows][:, columns], [names[int(label)] for label in parts.labels]
    return segmented(reduced, ids.numpy(), parts.labels.numpy(), words, larger=LARGER)


def true_parts(truth: Panoptic, numbers: Int[Tensor, " classes"]) -> Parts:
    """Return the segments of a picture as a model's, numbered from 1."""
    ids, places = torch.unique(truth.ids, return_inverse=True)
    known = {segment.id: segment for segment in truth.segments}
    there = [known[key] for key in ids.tolist() if key in known]
    order = {segment.id: k + 1 for k, segment in enumerate(there)}
    table = torch.tensor([order.get(key, 0) for key in ids.tolist()])
    labels = [int(numbers[segment.label]) for segment in there]
    return Parts(table[places], torch.tensor(labels, dtype=torch.long))
