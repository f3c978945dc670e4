"""The census: what is in a data set, from its labels and from the headers of some pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchword.data.decode import Header
from patchword.data.source import Data, Source
from patchword.errors import ImageError

Size = tuple[int, int]  # rows, columns


@dataclass(frozen=True, kw_only=True)
class SplitCensus:
    """One split. Sizes and modes are those of the pictures looked at that could be read."""

    count: int
    per_class: tuple[int, ...]  # pictures, in the order of the classes
    looked: int  # pictures of which the header was read, spread evenly over the split
    smallest: Size | None  # by area; None: none could be read
    median: Size | None
    largest: Size | None
    modes: tuple[tuple[str, int], ...]  # Pillow's mode and how many have it, most frequent first
    notes: tuple[tuple[str, int], ...]  # what the pixel contract does, and to how many of them
    unreadable: tuple[str, ...]  # a sentence each, by those looked at


@dataclass(frozen=True, kw_only=True)
class Census:
    """All splits of a data set."""

    train: SplitCensus
    validation: SplitCensus | None
    test: SplitCensus | None


def look(data: Data, *, limit: int = 2000) -> Census:
    """Count pictures, and read the headers of at most `limit` of each split; decode none."""
    return Census(
        train=_look(data.train, limit),
        validation=_look(data.validation, limit) if data.validation else None,
        test=_look(data.test, limit) if data.test else None,
    )


def _look(source: Source, limit: int) -> SplitCensus:
    looked = min(len(source), limit)
    places = np.linspace(0, len(source) - 1, looked).astype(int).tolist()
    return split_census(source, [_header(source, index) for index in places])


def _header(source: Source, index: int) -> Header | str:
    try:
        return source.header(index)
    except ImageError as error:
        return str(error)


def split_census(source: Source, headers: Sequence[Header | str]) -> SplitCensus:
    """Count a split.

    Args:
        source: the split.
        headers: of the pictures looked at; what is wrong where one cannot be read.
    """
    read = [header for header in headers if isinstance(header, Header)]
    sizes = sorted((h.size for h in read), key=lambda size: (size[0] * size[1], size))
    return SplitCensus(
        count=len(source),
        per_class=tuple(np.bincount(source.labels, minlength=len(source.classes)).tolist()),
        looked=len(headers),
        smallest=sizes[0] if sizes else None,
        median=sizes[len(sizes) // 2] if sizes else None,
        largest=sizes[-1] if sizes else None,
        modes=tuple(Counter(h.mode for h in read).most_common()),
        notes=tuple(Counter(note for h in read for note in h.notes).most_common()),
        unreadable=tuple(header for header in headers if isinstance(header, str)),
    )
