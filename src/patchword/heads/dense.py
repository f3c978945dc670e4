"""Dense prediction: a backbone, a head that reads some of its levels, an answer for every pixel.

A head is handed a backbone's `levels` when it is made: it chooses those that it needs, sizes itself
from them, and refuses in one line what it cannot read. It then sees taps of these levels alone, so
that any head goes on any backbone, whatever either is called.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.layers import Grid, Normed
from patchword.predictor import Card

MAIN = "main"  # what the head itself answers, beside its auxiliary heads
HeadKind = Literal["mask", "depth", "panoptic", "objects"]
"""Of what a head answers: a class or a depth of every pixel; segments; objects."""


@runtime_checkable
class Assembles(Protocol):
    """What the config of any head can do; those of other answers make other models."""

    kind: ClassVar[HeadKind]

    def assemble(self, backbone: Backbone, num_classes: int) -> Any:
        """Make a model of a backbone and a fresh head."""
        ...


class DenseHead(nn.Module, ABC):
    """Levels in, scores at the cells of a map out; perhaps with auxiliary heads, for training.

    Attributes:
        levels: names of those that it reads, in the order in which it takes them.
        silent: patterns of parameters that no answer depends on, by the paper's own design.
    """

    levels: tuple[str, ...]
    silent: tuple[str, ...] = ()

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.levels = tuple(level.name for level in levels)

    def maps(self, taps: Sequence[Tap]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Return what is decoded: the levels' maps, or what the head makes of them first."""
        return tuple(tap.map for tap in taps)

    @abstractmethod
    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Answer for the cells of a grid that covers the image."""

    def auxiliary(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> dict[str, Float[Tensor, "b classes _ _"]]:
        """Answer by the names of the auxiliary heads, if there are any."""
        return {}

    def forward(self, taps: Sequence[Tap]) -> Float[Tensor, "b classes rows columns"]:
        """Answer from the levels, without the auxiliary heads."""
        return self.decode(self.maps(taps))

    def heads(self, taps: Sequence[Tap]) -> dict[str, Float[Tensor, "b classes _ _"]]:
        """Answer by name: `main`, and each auxiliary head."""
        maps = self.maps(taps)
        return {MAIN: self.decode(maps), **self.auxiliary(maps)}


class Dense(nn.Module):
    """A backbone and a head that answers for every pixel; with its card, a whole model.

    Images whose sides the backbone cannot read are padded with zeros, right and below, and the
    answer is cropped; the zeros are what the pixels' mean is after normalisation. Where the head
    reads no level after the last norm, the backbone gives its norm up.
    """

    def __init__(self, backbone: Backbone, head: DenseHead, card: Card | None = None) -> None:
        super().__init__()
        self.backbone, self.head, self.card = backbone, head, card
        if "final" not in head.levels:
            backbone.norm = nn.Identity()

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes h w"]:
        """Answer for every pixel: logits per class, or one value."""
        seen, size = self._seen(images)
        return _cut(self.head(seen), size, images)

    def heads(self, images: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b classes h w"]]:
        """Answer once per head: `main`, and each auxiliary one."""
        seen, size = self._seen(images)
        return {name: _cut(found, size, images) for name, found in self.head.heads(seen).items()}

    def _seen(self, images: Tensor) -> tuple[tuple[Tap, ...], Grid]:
        """Return the levels of images, and the sides to which these were padded."""
        images = to_multiple(images, self.backbone.multiple)
        taps = self.backbone(images, taps=self.head.levels).taps
        return taps, tuple(images.shape[2:])


def _cut(found: Tensor, padded: Grid, images: Tensor) -> Tensor:
    """Bring an answer to the size of images that may have been padded."""
    rows, columns = images.shape[2:]
    return resized(found, padded)[:, :, :rows, :columns]


def to_multiple(images: Shaped[Tensor, "b c h w"], step: int) -> Shaped[Tensor, "b c H W"]:
    """Pad images with zeros, right and below, to sides that are multiples of a number."""
    below, right = (-side % step for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below)) if below or right else images


def resized(
    x: Float[Tensor, "b c h w"], size: Sequence[int], *, aligned: bool = False
) -> Float[Tensor, "b c H W"]:
    """Read a map at another grid, linearly between its cells.

    Args:
        x: a map.
        size: rows and columns of the grid.
        aligned: put the centres of the corners onto each other, instead of the borders.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=aligned)


def conv_relu(dim_in: int, dim: int, kernel: int, *, bias: bool = False) -> nn.Sequential:
    """Return a convolution that keeps a map's sides, batch norm, and ReLU, as mmcv starts them."""
    conv = nn.Conv2d(dim_in, dim, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(Normed(conv), nn.ReLU())


def scoring(dim: int, num_classes: int, kernel: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """Return the convolution that scores classes, whose weights start at a deviation of 0.01."""
    conv = nn.Conv2d(dim, num_classes, kernel, padding=kernel // 2, bias=bias)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def pyramid(backbone: Backbone) -> tuple[str, ...]:
    """Name the levels that most heads start from: stages or quarters, the last after its norm."""
    return (*backbone.pyramid()[:-1], "final")


def chosen(backbone: Backbone, names: Sequence[str]) -> tuple[Level, ...]:
    """Look levels of a backbone up.

    Raises:
        ConfigError: there is no such level, or no grid is left at it.
    """
    levels = tuple(backbone.level(name) for name in names)
    for level in levels:
        if level.stride is None:
            refuse(backbone, f"has no grid left at {level.name}", "levels that are maps")
    return levels


def refuse(backbone: Backbone, fault: str, wanted: str) -> NoReturn:
    """Refuse a backbone for what its levels are.

    Raises:
        ConfigError: always; it says what would fit.
    """
    raise ConfigError(f"{type(backbone).__name__} {fault}; this head reads {wanted}")


@dataclass(frozen=True, kw_only=True)
class HeadConfig(ABC):
    """What a head that answers for every pixel is made from.

    Attributes:
        kind: of the answers.
    """

    kind: ClassVar[HeadKind] = "mask"

    @abstractmethod
    def head(self, backbone: Backbone, num_classes: int) -> DenseHead:
        """Make a head with fresh weights, sized from a backbone's levels.

        Raises:
            ConfigError: the backbone has not the levels that it needs.
        """

    def assemble(self, backbone: Backbone, num_classes: int) -> Dense:
        """Make a model of a backbone and a fresh head."""
        return Dense(backbone, self.head(backbone, num_classes))

    @property
    def metric(self) -> bool:
        """Whether depths are answered as they are, not inverse, up to a scale and a shift."""
        return False


@dataclass(frozen=True, kw_only=True)
class Design:
    """A model as its paper has it: a head, on a backbone of the zoo; or a head for any."""

    head: Assembles
    backbone: str | None = None  # its name; None: whoever takes the head says one
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the backbone's config
    num_classes: int = 150  # ADE20K's
    frame: Frame | None = None  # how pictures are framed; as for the backbone if None
