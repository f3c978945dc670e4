"""Pictures that something is done to after they were framed: a source made from another."""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import UInt8
from torch import Tensor

from patchword.data import Frame, Source, frame
from patchword.data.decode import Header

Disturb: TypeAlias = Callable[[Tensor, int], Tensor]
"""From framed uint8 pixels (c, h, w) and the picture's number to pixels of the same size."""


class Disturbed(Source):
    """The pictures of another source at the size that a model looks at, disturbed.

    Args:
        source: of the pictures; their names and labels stay.
        into: how they are framed; None where they are already.
        disturb: what is done to each.
    """

    def __init__(self, source: Source, into: Frame | None, disturb: Disturb) -> None:
        self.source, self.into, self.disturb = source, into, disturb
        self.channels, self.classes, self.labels = source.channels, source.classes, source.labels
        self.kind, self.targets = source.kind, source.targets

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        image = self.source.read(index)
        return self.disturb(image if self.into is None else frame(image, self.into), index)

    def header(self, index: int) -> Header:
        return self.source.header(index)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def fingerprint(self) -> str:
        return self.source.fingerprint()
