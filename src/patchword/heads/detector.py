"""Detection: a backbone, a head whose queries answer with a class and a box each.

A head is handed a backbone's `levels` when it is made, as heads for pixels are. It answers with a
set: many more boxes than there are objects, in no order. Which of them stand for objects is settled
by matching while it learns, and by their scores afterwards.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from patchword.errors import ShapeError
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import MAIN, HeadKind, resized, to_multiple
from patchword.layers import Grid
from patchword.predictor import Card

PROPOSALS = "proposals"  # what a head answers of where objects are, before it asks which they are


class Found(NamedTuple):
    """What queries answer."""

    scores: Float[Tensor, "b q classes"]  # logits
    boxes: Float[Tensor, "b q 4"]  # centre x and y, width, height, in sides of the image
    masks: Float[Tensor, "b q rows columns"] | None = (
        None  # logits, on a grid over the padded image
    )


class Answers(NamedTuple):
    """What is said to be in one image."""

    scores: Float[Tensor, " n"]  # from 0 to 1
    labels: Int[Tensor, " n"]
    boxes: Float[Tensor, "n 4"]  # left, top, right, bottom, in pixels
    masks: Bool[Tensor, "n h w"] | None = None


class Extent(NamedTuple):
    """How much of a batch of images is image; the rest, right and below, is padding."""

    padded: Grid  # rows and columns of the batch
    sizes: Int[Tensor, "b 2"] | None = None  # rows and columns of each image; None: all of it

    def inside(
        self, grid: Grid, like: Float[Tensor, "b ..."]
    ) -> Bool[Tensor, "b rows columns"] | None:
        """Tell which cells of a grid have their nearest pixel in the image; None: all have."""
        if self.sizes is None:
            return None
        rows, columns = (
            self._read(side, count, like.device) < self.sizes[:, axis, None]
            for axis, (side, count) in enumerate(zip(self.padded, grid, strict=True))
        )
        return rows[:, :, None] & columns[:, None]

    def shares(self, grid: Grid, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b 2"]:
        """Return which share of a grid's columns and rows are in the image."""
        cells = self.inside(grid, like)
        if cells is None:
            return like.new_ones(len(like), 2)
        return torch.stack(
            [cells[:, 0].sum(1) / grid[1], cells[:, :, 0].sum(1) / grid[0]], dim=1
        ).to(like.dtype)

    @staticmethod
    def _read(side: int, count: int, device: torch.device) -> Float[Tensor, " cells"]:
        pixels = torch.arange(side, dtype=torch.float32, device=device)[None, None]
        return F.interpolate(pixels, count, mode="nearest")[0, 0]


class SetHead(nn.Module, ABC):
    """Levels in, a set of scored boxes out.

    Attributes:
        levels: names of those that it reads, in the order in which it takes them.
        num_queries: boxes that it answers with.
        scoring: of a query's classes: one of them or, as the last, none; or each by itself.
        compared: the form in which its boxes are held against objects'.
        kept: the most answers that are kept of an image, where classes are scored by themselves.
        multiple: pixels of which the sides of padded images are to be multiples.
        silent: patterns of parameters that no answer depends on, by the paper's own design.
    """

    levels: tuple[str, ...]
    num_queries: int
    scoring: ClassVar[Literal["softmax", "sigmoid"]] = "sigmoid"
    compared: ClassVar[Literal["centred", "corners"]] = "centred"
    kept: int = 100
    multiple: int = 1
    silent: tuple[str, ...] = ()

    def __init__(self, levels: Sequence[Level], num_queries: int) -> None:
        super().__init__()
        self.levels, self.num_queries = tuple(level.name for level in levels), num_queries

    @abstractmethod
    def heads(self, taps: Sequence[Tap], extent: Extent) -> dict[str, Found]:
        """Answer by name: after each layer but the last `aux.0` and so on, then `main`."""

    def forward(self, taps: Sequence[Tap], extent: Extent) -> Found:
        """Answer from the last layer."""
        return self.heads(taps, extent)[MAIN]


class Detector(nn.Module):
    """A backbone and a head that answers with a set of boxes; with its card, a whole model.

    Images of a batch are of one size; smaller ones are padded with zeros, right and below, and
    `sizes` says how large they are themselves. Where the head reads no level after the last norm,
    the backbone gives its norm up.
    """

    def __init__(self, backbone: Backbone, head: SetHead, card: Card | None = None) -> None:
        super().__init__()
        self.backbone, self.head, self.card = backbone, head, card
        if "final" not in head.levels:
            backbone.norm = nn.Identity()

    def forward(
        self, images: Float[Tensor, "b c h w"], sizes: Int[Tensor, "_ 2"] | None = None
    ) -> Found:
        """Answer with a set of boxes.

        Args:
            images: normalised.
            sizes: rows and columns of each image without its padding; all is image if None.
        """
        return self.head(*self._seen(images, sizes))

    def heads(
        self, images: Float[Tensor, "b c h w"], sizes: Int[Tensor, "_ 2"] | None = None
    ) -> dict[str, Found]:
        """Answer once per layer of the head: `aux.0` and so on, and last `main`."""
        return self.head.heads(*self._seen(images, sizes))

    def detect(
        self,
        images: Float[Tensor, "b c h w"],
        sizes: Int[Tensor, "_ 2"] | None = None,
        original: Sequence[Grid] | None = None,
    ) -> list[Answers]:
        """Say what is in each image.

        Args:
            images: normalised.
            sizes: rows and columns of each without its padding.
            original: rows and columns of each picture as it was, in whose pixels boxes and masks
                are to be; those of the images if None.
        """
        taps, extent = self._seen(images, sizes)
        whole: Grid = tuple(images.shape[2:])
        own = [whole] * len(images) if sizes is None else [tuple(row) for row in sizes.tolist()]
        return answers(self.head, self.head(taps, extent), extent.padded, own, original or own)

    def padded(self, x: Shaped[Tensor, "b _ h w"]) -> Shaped[Tensor, "b _ H W"]:
        """Pad images, or masks, to what is read; not those of the backbone's own size further."""
        step, own = self.backbone.multiple, tuple(self.backbone.config.image_size)
        return to_multiple(x, step if tuple(x.shape[2:]) == own else lcm(step, self.head.multiple))

    def _seen(self, images: Tensor, sizes: Tensor | None) -> tuple[tuple[Tap, ...], Extent]:
        """Return the levels of images that are padded as the backbone needs, and their extent."""
        if sizes is not None and len(sizes) != len(images):
            raise ShapeError(f"there are {len(images)} images, and sizes of {len(sizes)}")
        whole = self.padded(images)
        if sizes is None and whole.shape != images.shape:
            sizes = torch.tensor([images.shape[2:]] * len(images), device=images.device)
        taps = self.backbone(whole, taps=self.head.levels).taps
        return taps, Extent(tuple(whole.shape[2:]), sizes)


def answers(
    head: SetHead,
    found: Found,
    padded: Grid,
    sizes: Sequence[Grid],
    original: Sequence[Grid],
) -> list[Answers]:
    """Turn what queries answer into what is in each image.

    Where a query's classes exclude each other it has one answer; else the surest pairs of query and
    class are kept, surest first.

    Args:
        head: whose answers they are.
        found: of a batch.
        padded: rows and columns of the batch that the masks' grids cover.
        sizes: rows and columns of each image in it.
        original: rows and columns in whose pixels the answers are to be.
    """
    if head.scoring == "softmax":
        scores, labels = found.scores.softmax(-1)[..., :-1].max(-1)
        queries = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    else:
        classes = found.scores.shape[-1]
        flat = found.scores.sigmoid().flatten(1)
        scores, places = flat.topk(min(head.kept, flat.shape[1]), dim=1)
        queries, labels = places // classes, places % classes
    result: list[Answers] = []
    for i, (rows, columns) in enumerate(original):
        sides = found.boxes.new_tensor([columns, rows, columns, rows])
        boxes = corners(found.boxes[i, queries[i]]) * sides
        masks = None
        if found.masks is not None:
            masks = drawn(found.masks[i, queries[i]], padded, sizes[i], (rows, columns))
        result.append(Answers(scores[i], labels[i], boxes, masks))
    return result


def drawn(
    masks: Float[Tensor, "n _ _"], padded: Grid, size: Grid, original: Grid
) -> Bool[Tensor, "n h w"]:
    """Return masks in a picture's pixels: read at the batch's, cut, and brought to its size."""
    there = resized(masks[None], padded)[..., : size[0], : size[1]].sigmoid() > 0.5
    return F.interpolate(there.float(), tuple(original), mode="nearest")[0].bool()


def corners(boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Turn centre, width and height into left, top, right and bottom."""
    centre, sides = boxes.split(2, dim=-1)
    return torch.cat([centre - sides / 2, centre + sides / 2], dim=-1)


def centred(boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
    """Turn left, top, right and bottom into centre, width and height."""
    low, high = boxes.split(2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def inverse_sigmoid(x: Float[Tensor, "..."], eps: float = 1e-5) -> Float[Tensor, "..."]:
    """Return what a sigmoid makes shares of, `eps` away from the ends at least."""
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


class FrozenNorm(nn.Module):
    """Batch norm of a map by statistics that stay, as do its scale and shift."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).detach().clone())

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale and shift each channel."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def freeze_norms(module: nn.Module) -> None:
    """Replace every batch norm of maps by one whose statistics stay as they are."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenNorm(child))
        else:
            freeze_norms(child)


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(ABC):
    """What a head that answers with boxes is made from.

    Attributes:
        kind: of the answers.
    """

    kind: ClassVar[HeadKind] = "objects"
    frozen_norms: bool = True  # batch norms of the backbone keep the statistics that they came with

    @abstractmethod
    def head(self, backbone: Backbone, num_classes: int) -> SetHead:
        """Make a head with fresh weights, sized from a backbone's levels.

        Raises:
            ConfigError: the backbone has not the levels that it needs.
        """

    def assemble(self, backbone: Backbone, num_classes: int) -> Detector:
        """Make a model of a backbone and a fresh head."""
        if self.frozen_norms:
            freeze_norms(backbone)
        return Detector(backbone, self.head(backbone, num_classes))
