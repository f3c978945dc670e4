"""Pseudo-labels: which pictures are learnt under the labels that a teacher gave them, how often.

Xie et al., "Self-training with Noisy Student improves ImageNet classification", 2020, section 3.1:
those that the teacher is sure of; of each class equally many, the surest of a frequent one, copies
of a rare one's.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from patchword.data.decode import Header
from patchword.data.draw import Stream, uniforms
from patchword.data.source import Source, Targets, digest
from patchword.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What is learnt of a teacher's answers to pictures without labels."""

    kind: Literal["soft", "hard"] = "soft"  # its probabilities, or the class that it names
    threshold: float = 0.3  # probability of that class from which on a picture is learnt
    per_class: int | Literal["mean", "any"] = "mean"  # pictures of each class: as many as there
    # are on average, or so many, by leaving out and by copies; any: as they come

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold is {self.threshold}; wanted: from 0 to below 1")
        if isinstance(self.per_class, int) and self.per_class < 1:
            raise ConfigError(f"per_class is {self.per_class}; wanted: 1 or more, mean or any")


class Relabelled(Source):
    """Pictures of another source under other labels, each as often as it is listed."""

    def __init__(self, source: Source, indices: Int64[np.ndarray, " n"], known: Targets) -> None:
        self.source, self.indices, self.known = source, indices, known
        self.classes, self.labels, self.kind, self.targets = known
        self.channels = source.channels

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return self.source.read(int(self.indices[index]))

    def header(self, index: int) -> Header:
        return self.source.header(int(self.indices[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def fingerprint(self) -> str:
        names = [self.source.fingerprint(), *self.classes]
        return digest(names, [self.indices, *self.known.arrays()])


def selected(
    probabilities: Float[np.ndarray, "n classes"], how: PseudoLabels, *, seed: int
) -> Int64[np.ndarray, " m"]:
    """Return the numbers of the pictures to learn, in order, copies next to each other.

    Args:
        probabilities: a teacher's; a row of NaN is a picture that could not be read.
        how: which of them.
        seed: of the choice of what is copied.
    """
    sure = np.nan_to_num(probabilities.max(axis=1), nan=-1.0)
    labels = probabilities.argmax(axis=1)
    kept = np.flatnonzero(sure >= max(how.threshold, 0.0))
    if how.per_class == "any" or not len(kept):
        return kept
    there = np.unique(labels[kept])
    count = len(kept) // len(there) if how.per_class == "mean" else how.per_class
    drawn = uniforms(seed, Stream.PSEUDO, 0, np.arange(len(labels)), 0, 1)[:, 0]
    chosen: list[np.ndarray] = []
    for label in there:
        own = kept[labels[kept] == label]
        if len(own) >= count:
            chosen.append(own[np.argsort(-sure[own], kind="stable")[:count]])
        else:
            chosen.append(np.resize(own[np.argsort(drawn[own], kind="stable")], count))
    return np.sort(np.concatenate(chosen))


def as_shares(source: Source) -> Relabelled:
    """Return a source whose targets are shares of its classes; a class is the whole of it."""
    rows = source.targets
    if rows is None:
        rows = np.eye(len(source.classes), dtype=np.float32)[source.labels]
    known = Targets(source.classes, source.labels, "shares", rows)
    return Relabelled(source, np.arange(len(source)), known)
