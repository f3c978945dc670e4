"""Likely wrong labels, by the labels of each picture's nearest neighbours.

Each picture is answered by the pictures nearest to it, itself aside (leave one out), so no answer
has seen its own label. A label is suspect where none of the neighbours bears it and they agree on
another class, at least as surely as they do on average for that class's own pictures: the
threshold of confident learning (Northcutt, Jiang and Chuang, JAIR 2021, arXiv 1911.00068). Where
neighbours answer too few labels at all, nothing is said: their dissent would mean nothing.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int
from torch import Tensor

from patchword.diagnosis.nearest import STRIP, largest

NEIGHBOURS = 15
TRUSTED = 0.75  # share of the labels that neighbours must answer for their dissent to count
SAMPLE = 2000  # pictures that tell whether the neighbours can be trusted


class Suspects(NamedTuple):
    """Pictures whose labels are likely wrong; the surest first."""

    agreement: float  # share of all labels that neighbours answer
    rows: Int[np.ndarray, " suspects"]
    likely: Int[np.ndarray, " suspects"]  # the class that the neighbours agree on
    shares: Float32[np.ndarray, " suspects"]  # of the neighbours that do


def suspects(
    features: Float32[Tensor, "n d"], labels: Int[np.ndarray, " n"], classes: int
) -> Suspects:
    """Find labels that their pictures' neighbours contradict.

    Args:
        features: a vector per picture; only its direction counts.
        labels: the class of each.
        classes: how many there are.
    """
    given = torch.from_numpy(labels)
    features = F.normalize(features, dim=1)
    some = torch.linspace(0, len(given) - 1, min(len(given), SAMPLE)).long()
    agreement = _agreement(_votes(features, given, classes, some), given[some])
    if agreement < TRUSTED:
        none = np.empty(0, dtype=np.int64)
        return Suspects(agreement, none, none, np.empty(0, dtype=np.float32))
    votes = _votes(features, given, classes, torch.arange(len(given)))
    own = votes.gather(1, given[:, None])[:, 0]
    shares, answers = votes.max(dim=1)
    counts = torch.bincount(given, minlength=classes).clamp(min=1)
    usual = torch.zeros(classes).index_add_(0, given, own) / counts
    doubtful = (own == 0) & (shares >= usual[answers])
    rows = torch.nonzero(doubtful)[:, 0]
    rows = rows[torch.argsort(-shares[rows], stable=True)]
    return Suspects(
        _agreement(votes, given), *(x.numpy() for x in (rows, answers[rows], shares[rows]))
    )


def _agreement(votes: Float32[Tensor, "m classes"], labels: Int[Tensor, " m"]) -> float:
    return float((votes.argmax(dim=1) == labels).float().mean())


def _votes(
    features: Float32[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    classes: int,
    rows: Int[Tensor, " m"],
) -> Float32[Tensor, "m classes"]:
    """Return the nearest others of some pictures by class, shares of their likeness."""
    count = len(features)
    nearest = min(NEIGHBOURS, count - 1)
    found: list[Tensor] = []
    memory = torch.empty(STRIP, count)
    for block in rows.split(STRIP):
        likeness = torch.mm(features[block], features.T, out=memory[: len(block)])
        likeness[torch.arange(len(block)), block] = -torch.inf
        best = largest(likeness, nearest)
        voted = torch.zeros(len(likeness), classes)
        found.append(voted.scatter_add_(1, labels[best], likeness.gather(1, best).clamp(min=0)))
    votes = torch.cat(found)
    return votes / votes.sum(dim=1, keepdim=True).clamp(min=1e-6)
