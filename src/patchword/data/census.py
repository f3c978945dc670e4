"""The census: what is in a data set, from its labels and from the headers of some pictures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from patchword.data.decode import Header
from patchword.data.source import Data, Kind, Source
from patchword.errors import ImageError

Size = tuple[int, int]  # rows, columns

UNCLASSED: tuple[Kind, ...] = ("values", "mask", "depth")  # no class stands for a picture
SAMPLE = 16  # deep pictures that are decoded
NARROW = 64  # levels: fewer are a sign that a window is missing


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
    """Count pictures, read the headers of at most `limit` of each split, decode a few deep ones."""
    return Census(
        train=look_at(data.train, limit=limit),
        validation=look_at(data.validation, limit=limit) if data.validation else None,
        test=look_at(data.test, limit=limit) if data.test else None,
    )


def look_at(source: Source, *, limit: int = 2000) -> SplitCensus:
    """Look at one split, as `look` does."""
    looked = min(len(source), limit)
    places = np.linspace(0, len(source) - 1, looked).astype(int).tolist()
    headers = [_header(source, index) for index in places]
    found = split_census(source, headers)
    pairs = zip(places, headers, strict=True)
    deep = [index for index, header in pairs if isinstance(header, Header) and header.bits > 8]
    return replace(found, notes=(*found.notes, *_flat(source, deep)))


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
        per_class=tuple(per_class(source).tolist()),
        looked=len(headers),
        smallest=sizes[0] if sizes else None,
        median=sizes[len(sizes) // 2] if sizes else None,
        largest=sizes[-1] if sizes else None,
        modes=tuple(Counter(h.mode for h in read).most_common()),
        notes=tuple(Counter(note for h in read for note in h.notes).most_common()),
        unreadable=tuple(header for header in headers if isinstance(header, str)),
    )


def per_class(source: Source) -> Int[np.ndarray, " classes"]:
    """Count the pictures of each class: that have the label, or it as their largest share.

    Values have none, and neither have pictures of which nothing but a map is known.
    """
    if source.kind in UNCLASSED:
        return np.zeros(0, dtype=np.int64)
    if source.kind == "labels" and source.targets is not None:
        return (source.targets > 0).sum(axis=0)
    return np.bincount(source.labels, minlength=len(source.classes))


def said(name: str, split: SplitCensus) -> list[str]:
    """Say what the pixel contract does to the pictures of a split, a line each."""
    of = f"of {split.looked:,} {name} pictures"
    return [f"{count:,} {of}: {note}" for note, count in split.notes]


def _flat(source: Source, deep: list[int]) -> list[tuple[str, int]]:
    """Note where pictures of more than 8 bits come out nearly of one level, by a few of them."""
    spread = 0
    for index in deep[:: max(1, len(deep) // SAMPLE)]:
        try:
            image = source.read(index)
        except ImageError:
            continue
        spread = max(spread, int(image.max()) - int(image.min()))
    if not 0 < spread < NARROW:
        return []
    return [(f"no more than {spread + 1} of 256 levels used; state pixels.window", len(deep))]
