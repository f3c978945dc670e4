"""Panoptic segmentation: a picture parted into things, each by itself, and into kinds of stuff.

A panoptic model is a dense one, which scores the classes of every pixel, and answers more: what
its paper finds things by, and the segments that follow from it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import Dense, DenseHead, HeadConfig, HeadKind
from patchword.layers import Grid

Answers = dict[str, Tensor]
"""By name, what a head finds segments by; maps (b c rows columns) among it."""


class Parts(NamedTuple):
    """The segments of a picture."""

    ids: Int[Tensor, "h w"]  # of each pixel's segment, from 1; 0 where it is in none
    labels: Int[Tensor, " n"]  # the class of segment k, at place k - 1


class PanopticHead(DenseHead):
    """Levels in, classes of pixels and segments out.

    Attributes:
        things: the classes whose segments are one thing each; the others are stuff.
    """

    things: tuple[int, ...]

    def __init__(self, levels: Sequence[Level], things: tuple[int, ...]) -> None:
        super().__init__(levels)
        self.things = things

    @abstractmethod
    def answers(self, taps: Sequence[Tap]) -> Answers:
        """Answer at the cells of the head's grids, as it is trained."""

    @abstractmethod
    def enlarged(self, answers: Answers, size: Grid) -> Answers:
        """Return the answers that segments are found by, with their maps read at a size."""

    @abstractmethod
    def parts(self, answers: Answers) -> list[Parts]:
        """Find the segments of every picture in enlarged answers."""


class Panoptic(Dense):
    """A backbone and a head that parts pictures; images are padded as in any dense model."""

    head: PanopticHead

    def answers(self, images: Float[Tensor, "b c h w"]) -> Answers:
        """Answer at the cells of the head's grids, which cover the padded images."""
        seen, _ = self._seen(images)
        return self.head.answers(seen)

    def enlarged(self, images: Float[Tensor, "b c h w"]) -> Answers:
        """Answer at every pixel of images."""
        seen, size = self._seen(images)
        rows, columns = images.shape[2:]
        found = self.head.enlarged(self.head.answers(seen), size)
        return {name: t[..., :rows, :columns] if t.ndim == 4 else t for name, t in found.items()}

    @torch.no_grad()
    def parts(self, images: Float[Tensor, "b c h w"]) -> list[Parts]:
        """Part pictures into segments."""
        return self.head.parts(self.enlarged(images))


@dataclass(frozen=True, kw_only=True)
class PanopticConfig(HeadConfig, ABC):
    """What a panoptic head is made from.

    Attributes:
        things: the classes that are things; the first 80, as in COCO, if None.
    """

    kind: ClassVar[HeadKind] = "panoptic"
    things: tuple[int, ...] | None = None

    def among(self, num_classes: int) -> tuple[int, ...]:
        """Return those of so many classes that are things."""
        things = range(80) if self.things is None else self.things
        return tuple(c for c in range(num_classes) if c in things)

    @abstractmethod
    def head(self, backbone: Backbone, num_classes: int) -> PanopticHead: ...

    def assemble(self, backbone: Backbone, num_classes: int) -> Panoptic:
        return Panoptic(backbone, self.head(backbone, num_classes))


def large(numbers: Int[Tensor, "h w"], least: float) -> Int[Tensor, " large"]:
    """List the numbers that a share of a picture's pixels has.

    Args:
        numbers: one per pixel; -1 stands for none.
        least: the share; a pixel at the least.
    """
    areas = torch.bincount(numbers[numbers >= 0])
    return (areas >= max(least * numbers.numel(), 1)).nonzero()[:, 0]


class Assembly:
    """Segments of one picture as they are found.

    Args:
        size: rows and columns of the picture.
        like: a tensor on whose device they are.
    """

    def __init__(self, size: Sequence[int], like: Tensor) -> None:
        self.ids = torch.zeros(tuple(size), dtype=torch.long, device=like.device)
        self.labels: list[int] = []

    def add(self, mask: Tensor, label: int) -> None:
        """Put a segment where a mask (h w) is."""
        self.labels.append(label)
        self.ids[mask] = len(self.labels)

    def parts(self) -> Parts:
        """Return what was found."""
        labels = torch.tensor(self.labels, dtype=torch.long, device=self.ids.device)
        return Parts(self.ids, labels)
