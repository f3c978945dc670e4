"""Batches: item n of a data set of batches is a pure function of (source, settings, seed, n).

No worker, process or moment has a part in it. That is what makes a run continue bit for bit, and
what lets a teacher's answers be stored for good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from patchword.data.augment import Augment, augmented, crop, draw_crops
from patchword.data.draw import Address, balanced, permutation
from patchword.data.frame import Frame, frame
from patchword.data.source import ArraySource, Source
from patchword.errors import ConfigError, ImageError


class Batch(NamedTuple):
    """Pictures of one size. One that could not be read is zeros, and weighs nothing."""

    images: UInt8[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    weights: Float32[Tensor, " b"]  # 1, or 0 for a picture that could not be read
    indices: Int64[Tensor, " b"]  # of the pictures in the source
    epoch: int
    number: int  # of the global batch, since the start; where batches come again, their first one


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Which pictures an epoch shows, and whether epochs come again."""

    repeats: int = 1  # views of each picture
    balanced: bool = False  # show the classes equally often, whatever the source has of each
    replay: int | None = None  # the first so many epochs, over and over; None: never again


ONCE = Epochs()
"""Every picture once, in epochs that never come again."""


class Order:
    """Which view of which picture stands where, over epochs without an end.

    Item n is slice n % slices of the global batch n // slices. A loop that accumulates over k
    micro-batches in each of p processes asks for k * p slices, and process r for the items r,
    r + p, r + 2 p, ... The rest of an epoch that fills no batch is left out.

    With repeats, an epoch has as many views as the source has pictures, of fewer pictures; two
    pictures take turns (a, b, a, b, ...), so that neighbours, which are mixed, always differ.

    Args:
        source: of the pictures.
        batch_size: of the global batch; cut to what an epoch has, in slices of an even size.
        epochs: which pictures each shows.
        seed: of the run.
        slices: that each global batch is cut into.

    Raises:
        ConfigError: a batch cannot be cut into such slices.
    """

    def __init__(
        self, source: Source, *, batch_size: int, epochs: Epochs, seed: int, slices: int
    ) -> None:
        if len(source) < batch_size:
            even = 2 * slices if len(source) >= 2 * slices else slices
            batch_size = len(source) // even * even
        if batch_size < 1 or batch_size % slices:
            raise ConfigError(
                f"batch_size {batch_size} (of {len(source)} pictures) cannot be cut into {slices} "
                "equal slices; change one of them"
            )
        self.source, self.batch_size, self.epochs = source, batch_size, epochs
        self.seed, self.slices = seed, slices
        self.steps_per_epoch = len(source) // batch_size
        self.orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, item: int) -> tuple[int, Address]:
        """Return the number of an item's global batch, and the views that it shows.

        Where batches come again, the number is that of their first one.
        """
        number, part = divmod(item, self.slices)
        if self.epochs.replay is not None:
            number %= self.epochs.replay * self.steps_per_epoch
        epoch, step = divmod(number, self.steps_per_epoch)
        size = self.batch_size // self.slices
        places = step * self.batch_size + part * size + np.arange(size)
        pair, place = np.divmod(places, 2 * self.epochs.repeats)
        order, turns = self._order(epoch)
        chosen = 2 * pair + place % 2
        views = place // 2 + self.epochs.repeats * turns[chosen]
        return number, Address(self.seed, epoch, order[chosen], views)

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of an epoch's pictures, and how often each was there before."""
        if not self.epochs.balanced:
            order = permutation(self.seed, epoch, len(self.source))
            return order, np.zeros_like(order)
        if epoch not in self.orders:
            self.orders = {epoch: balanced(self.seed, epoch, self.source.labels)}
        return self.orders[epoch]


class TrainBatches(Dataset[Batch]):
    """Augmented batches without an end: epoch after epoch, each in an order of its own.

    Args:
        source: pictures of any sizes; those of an `ArraySource` of the frame's are not copied.
        augment: what is done to them.
        frame: the size that they get.
        later: from which global batch on they get which other frame, in order.
        batch_size: as for `Order`, like what follows.
        epochs: which pictures each shows.
        seed: of the run.
        slices: that each global batch is cut into.

    Raises:
        ConfigError: a batch cannot be cut into such slices.
    """

    def __init__(
        self,
        source: Source,
        *,
        augment: Augment,
        frame: Frame,
        later: Sequence[tuple[int, Frame]] = (),
        batch_size: int,
        epochs: Epochs = ONCE,
        seed: int,
        slices: int = 1,
    ) -> None:
        self.order = Order(source, batch_size=batch_size, epochs=epochs, seed=seed, slices=slices)
        self.source, self.augment, self.frame = source, augment, frame
        self.frames = ((0, frame), *later)
        self.epochs, self.seed, self.slices = epochs, seed, slices
        self.batch_size, self.steps_per_epoch = self.order.batch_size, self.order.steps_per_epoch

    def __getitem__(self, item: int) -> Batch:
        number, address = self.order(item)
        into = [frame for first, frame in self.frames if first <= item // self.slices][-1]
        images, readable = self._cropped(address, into)
        images = augmented(images, self.augment, into, address)
        return _batch(
            self.source, images, address.samples, readable, epoch=address.epoch, number=number
        )

    def _cropped(self, address: Address, into: Frame) -> tuple[Tensor, Bool[np.ndarray, " b"]]:
        if not self.augment.cropped:
            return _framed(self.source, address.samples, into)
        images, readable = _empty(self.source, address.samples, into)
        for row, drawn in enumerate(draw_crops(address)):
            try:
                picture = self.source.read(int(address.samples[row]))
            except ImageError:
                readable[row] = False
            else:
                images[row] = crop(picture, self.augment, into, drawn)
        return images, readable


class EvalBatches(Dataset[Batch]):
    """Every picture once, in order, as the frame has it; the last batch may be short."""

    def __init__(self, source: Source, *, frame: Frame, batch_size: int) -> None:
        self.source, self.frame, self.batch_size = source, frame, batch_size

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, item: int) -> Batch:
        start = item * self.batch_size
        indices = np.arange(start, min(start + self.batch_size, len(self.source)))
        images, readable = _framed(self.source, indices, self.frame)
        return _batch(self.source, images, indices, readable, epoch=0, number=item)


def _empty(source: Source, indices: np.ndarray, frame: Frame) -> tuple[Tensor, np.ndarray]:
    shape = (len(indices), source.channels, *frame.image_size)
    return torch.zeros(shape, dtype=torch.uint8), np.ones(len(indices), dtype=bool)


def _fits(source: ArraySource, into: Frame) -> bool:
    return into.crop == 1 and source.images.shape[-2:] == into.image_size


def _framed(source: Source, indices: np.ndarray, into: Frame) -> tuple[Tensor, np.ndarray]:
    """Return the pictures as the frame has them, and which of them could be read."""
    if isinstance(source, ArraySource) and _fits(source, into):
        readable = np.array([index not in source.broken for index in indices.tolist()])
        return source.images[torch.from_numpy(indices)], readable
    images, readable = _empty(source, indices, into)
    for row, index in enumerate(indices.tolist()):
        try:
            images[row] = frame(source.read(index), into)
        except ImageError:
            readable[row] = False
    return images, readable


def _batch(
    source: Source,
    images: Tensor,
    indices: np.ndarray,
    readable: np.ndarray,
    *,
    epoch: int,
    number: int,
) -> Batch:
    if not readable.all():
        images[torch.from_numpy(~readable)] = 0
    return Batch(
        images=images,
        labels=torch.from_numpy(source.labels[indices]),
        weights=torch.from_numpy(readable.astype(np.float32)),
        indices=torch.from_numpy(indices.copy()),
        epoch=epoch,
        number=number,
    )
