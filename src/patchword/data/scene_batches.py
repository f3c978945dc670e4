"""Batches of scenes: item n is a pure function of (source, settings, seed, n), as with `batches`.

Pictures and what is known of them change alike, so a batch holds the scenes that its own pictures
show. What a task reads of them is the task's business.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from patchword.data.batches import ONCE, Epochs, Order
from patchword.data.draw import Address
from patchword.data.frame import Frame
from patchword.data.joint import Joint, jointly
from patchword.data.moves import View
from patchword.data.scene import Scene
from patchword.data.source import Source
from patchword.errors import ImageError


class SceneBatch(NamedTuple):
    """Pictures, each at the top left of its place, zeros beyond it, and the scene of each.

    One that could not be read is zeros, of an empty scene, and weighs nothing.
    """

    images: UInt8[Tensor, "b c h w"]
    scenes: tuple[Scene, ...]  # each of its picture's size
    sizes: Int64[Tensor, "b 2"]  # rows and columns of each picture
    weights: Float32[Tensor, " b"]  # 1, or 0 for a picture that could not be read
    indices: Int64[Tensor, " b"]  # of the pictures in the source
    epoch: int
    number: int  # of the global batch, since the start


class SceneBatches(Dataset[SceneBatch]):
    """Augmented batches of scenes without an end: epoch after epoch, each in an order of its own.

    Args:
        source: pictures of any sizes, with scenes.
        joint: what is done to both.
        frame: how the model reads pictures; a window that is cut is of its size.
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
        joint: Joint,
        frame: Frame,
        batch_size: int,
        epochs: Epochs = ONCE,
        seed: int,
        slices: int = 1,
    ) -> None:
        self.order = Order(source, batch_size=batch_size, epochs=epochs, seed=seed, slices=slices)
        self.source, self.frame, self.frames = source, frame, ((0, frame),)
        self.steps = joint.steps(frame)
        self.batch_size, self.steps_per_epoch = self.order.batch_size, self.order.steps_per_epoch

    def __getitem__(self, item: int) -> SceneBatch:
        number, address = self.order(item)
        views = [self._view(address, row) for row in range(len(address.samples))]
        seen = [view for view in views if view is not None]
        rows, columns = self.frame.image_size
        blank = torch.zeros(self.source.channels, rows, columns, dtype=torch.uint8)
        shown = [View(blank, Scene()) if view is None else view for view in views]
        largest = [max(view.size[axis] for view in seen or shown) for axis in (0, 1)]
        images = torch.zeros(len(views), self.source.channels, *largest, dtype=torch.uint8)
        for place, view in zip(images, views, strict=True):
            if view is not None:
                place[:, : view.size[0], : view.size[1]] = view.image
        return SceneBatch(
            images=images,
            scenes=tuple(view.scene for view in shown),
            sizes=torch.tensor([view.size for view in shown]),
            weights=torch.tensor([float(view is not None) for view in views]),
            indices=torch.from_numpy(address.samples.copy()),
            epoch=address.epoch,
            number=number,
        )

    def _view(self, address: Address, row: int) -> View | None:
        """Return a picture and its scene, both changed; None where one of them cannot be read."""
        one = np.array([row])
        index = int(address.samples[row])
        try:
            view = View(self.source.read(index), self.source.scene(index))
        except ImageError:
            return None
        of_it = address._replace(samples=address.samples[one], views=address.views[one])
        return jointly(view, self.steps, of_it)
