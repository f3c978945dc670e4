"""A source: a numbered collection of labelled pictures, and a data set made of up to three."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from patchword.data.decode import Header
from patchword.data.draw import Stream, uniforms
from patchword.data.scene import Scene
from patchword.errors import ImageError

CACHE_BYTES = 1 << 30
HELD_OUT = 0.2
NO_CLASSES = ("there are no classes: every picture is only looked at",)  # a note

Kind: TypeAlias = Literal[
    "class", "labels", "shares", "values", "mask", "objects", "panoptic", "depth"
]
"""What is known of a picture: its one class; any number of labels; shares of the classes, which
sum to 1; values, each a number of any size; or the part of its `Scene` of that name."""


class Targets(NamedTuple):
    """What is known of the pictures of a source, as the source holds it."""

    classes: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    kind: Kind = "class"
    targets: Float32[np.ndarray, "n classes"] | None = None

    def arrays(self) -> list[np.ndarray]:
        """Return what a fingerprint covers beside the names."""
        return [self.labels] if self.targets is None else [self.labels, self.targets]


class Source(ABC):
    """A numbered collection of labelled pictures; it can be pickled.

    Attributes:
        classes: the name of each class, label or value; the same, in the same order, for all
            splits of a data set.
        labels: the class of each picture. Where something else is known of them, the class that
            stands for it in counts and splits: the rarest of its labels (0 where it has none),
            the largest of its shares, the rarest class of its objects; else 0.
        kind: what is known of the pictures.
        targets: what is to be learnt where it is not one class: labels as 0 and 1, shares, values.
        channels: of what `read` returns.
        things: the classes that can be counted, where pictures are parted into things and stuff.
    """

    channels: int
    classes: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    kind: Kind = "class"
    targets: Float32[np.ndarray, "n classes"] | None = None
    things: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        """Decode a picture under the source's pixel contract.

        Raises:
            ImageError: it cannot be read; the message names it.
        """

    def scene(self, index: int) -> Scene:
        """Return what is known of a picture place by place: nothing, unless `kind` says so.

        Raises:
            ImageError: it cannot be read, or does not fit the picture; the message names it.
        """
        return Scene()

    @abstractmethod
    def header(self, index: int) -> Header:
        """Return a picture's mode and size without decoding it; errors as `read`."""

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        """Return a picture's header and its pixels, at the price of one; errors as `read`."""
        return self.header(index), self.read(index)

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what a report calls a picture: its relative path, or `train[17]`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256 over names, sizes in bytes (or contents, of arrays) and labels."""


class ArraySource(Source):
    """Pictures of one size, decoded, in memory.

    Args:
        images: all of them; an expanded channel takes no room.
        labels: the class of each.
        classes: the name of each class.
        label: what names are made of: `train` gives `train[17]`.
        broken: why a picture could not be read, by its index; its pixels are zeros.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n c h w"],
        labels: Int64[np.ndarray, " n"],
        classes: Sequence[str],
        label: str,
        broken: Mapping[int, str] | None = None,
    ) -> None:
        self.images, self.labels, self.classes = images, labels, tuple(classes)
        self.channels, self.label = images.shape[1], label
        self.broken = dict(broken or {})

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        if index in self.broken:
            raise ImageError(self.broken[index])
        return self.images[index]

    def header(self, index: int) -> Header:
        channels, rows, columns = self.read(index).shape
        grey = channels == 1 or self.images.stride(1) == 0
        return Header("L" if grey else "RGB", (rows, columns))

    def name(self, index: int) -> str:
        return f"{self.label}[{index}]"

    def fingerprint(self) -> str:
        stored = self.images[:, :1] if self.images.stride(1) == 0 else self.images
        return digest([self.label, *self.classes], [stored.numpy(), self.labels])


class Subset(Source):
    """Some pictures of another source, under the names that they have there."""

    def __init__(self, source: Source, indices: Int64[np.ndarray, " n"]) -> None:
        self.source, self.indices, self.channels = source, indices, source.channels
        self.classes, self.kind, self.things = source.classes, source.kind, source.things
        self.labels = source.labels[indices]
        self.targets = None if source.targets is None else source.targets[indices]

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        return self.source.read(int(self.indices[index]))

    def scene(self, index: int) -> Scene:
        return self.source.scene(int(self.indices[index]))

    def header(self, index: int) -> Header:
        return self.source.header(int(self.indices[index]))

    def with_header(self, index: int) -> tuple[Header, UInt8[Tensor, "c h w"]]:
        return self.source.with_header(int(self.indices[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def fingerprint(self) -> str:
        return digest([self.source.fingerprint()], [self.indices])


class Joined(Source):
    """The pictures of several sources of the same classes, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources, first = tuple(sources), sources[0]
        self.channels, self.classes, self.things = first.channels, first.classes, first.things
        self.labels, self.kind = np.concatenate([s.labels for s in sources]), first.kind
        rows = [source.targets for source in sources if source.targets is not None]
        self.targets = np.concatenate(rows) if rows else None
        self.ends = np.cumsum([len(source) for source in sources])

    def _place(self, index: int) -> tuple[Source, int]:
        number = int(np.searchsorted(self.ends, index, side="right"))
        return self.sources[number], index - int(self.ends[number]) + len(self.sources[number])

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        source, place = self._place(index)
        return source.read(place)

    def scene(self, index: int) -> Scene:
        source, place = self._place(index)
        return source.scene(place)

    def header(self, index: int) -> Header:
        source, place = self._place(index)
        return source.header(place)

    def name(self, index: int) -> str:
        source, place = self._place(index)
        return source.name(place)

    def fingerprint(self) -> str:
        return digest([source.fingerprint() for source in self.sources], [])


class CachedSource(ArraySource):
    """A source whose pictures have all been decoded; they keep their names and headers."""

    def __init__(
        self, origin: Source, images: UInt8[Tensor, "n c h w"], broken: Mapping[int, str]
    ) -> None:
        super().__init__(images, origin.labels, origin.classes, "", broken)
        self.origin, self.kind, self.targets = origin, origin.kind, origin.targets
        self.things = origin.things

    def scene(self, index: int) -> Scene:
        return self.origin.scene(index)

    def header(self, index: int) -> Header:
        return self.origin.header(index)

    def name(self, index: int) -> str:
        return self.origin.name(index)

    def fingerprint(self) -> str:
        return self.origin.fingerprint()


def cache(source: Source, *, limit: int = CACHE_BYTES) -> Source:
    """Decode a source into memory, if its pictures are of one size and fit; else return it.

    Args:
        source: whatever it is; pictures that cannot be read stay so.
        limit: bytes of the decoded pictures.
    """
    if isinstance(source, ArraySource):
        return source
    images: Tensor | None = None
    broken: dict[int, str] = {}
    for index in range(len(source)):
        try:
            image = source.read(index)
        except ImageError as error:
            broken[index] = str(error)
            continue
        if images is None and image.numel() * len(source) <= limit:
            images = torch.zeros((len(source), *image.shape), dtype=torch.uint8)
        if images is None or image.shape != images.shape[1:]:
            return source
        images[index] = image
    return source if images is None else CachedSource(source, images, broken)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set: its splits share one list of classes."""

    name: str
    train: Source
    validation: Source | None = None
    test: Source | None = None
    notes: tuple[str, ...] = ()  # what was assumed or ignored, a sentence each
    ids: tuple[int, ...] = ()  # numbers that its files have for the classes, where they have any


def divided(name: str, whole: Source, *, seed: int, notes: Sequence[str] = ()) -> Data:
    """Return a data set that comes without splits: a share of each class is held out."""
    kept, held = hold_out(whole.labels, share=HELD_OUT, seed=seed)
    said = (
        f"no split is given: {HELD_OUT:.0%} of the pictures of each class, chosen by seed {seed}, "
        "are held out for validation"
    )
    train, validation = Subset(whole, kept), Subset(whole, held)
    return Data(name=name, train=train, validation=validation, notes=(*notes, said))


def hold_out(
    labels: Int64[np.ndarray, " n"], *, share: float, seed: int
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """Split pictures class by class, at random; return both halves' indices, in order.

    A class of at least two gives at least one picture, and every class keeps at least one.
    """
    drawn = uniforms(seed, Stream.SPLIT, 0, np.arange(len(labels)), 0, 1)[:, 0]
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held[members[np.argsort(drawn[members], kind="stable")[:count]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def digest(names: Iterable[str], arrays: Iterable[np.ndarray]) -> str:
    """Return a SHA-256 in hexadecimal over names (any, also undecodable ones) and arrays."""
    hashed = hashlib.sha256()
    for name in names:
        hashed.update(name.encode("utf-8", "surrogateescape") + b"\0")
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()
