"""Axial-DeepLab: classes, centres of things, and the way from each pixel to its centre.

Paper      Wang et al., "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation",
           ECCV 2020, arXiv:2003.07853, section 3.3; its decoders and heads, and how segments are
           found: Cheng et al., "Panoptic-DeepLab", CVPR 2020, arXiv:1911.10194
Reference  github.com/google-research/deeplab2, model/decoder/panoptic_deeplab.py and aspp.py,
           model/post_processor/panoptic_deeplab.py; their tensors are of TensorFlow, and not read
Departures sides are multiples of the stride, and maps are read between borders, where theirs have
           one pixel more and are read between the centres of corners; of equally hot places in a
           window, as maps read so have, one is a centre; the least area of stuff is a share of the
           picture
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.heads.dense import MAIN, Design, chosen, conv_relu, pyramid, resized, scoring
from patchword.heads.panoptic import (
    Answers,
    Assembly,
    PanopticConfig,
    PanopticHead,
    Parts,
    large,
)
from patchword.layers import Grid, Normed
from patchword.weights import HeadFormat

CENTRE, OFFSET = "centre", "offset"


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """One decoder: the coarsest level's context, joined with finer levels one by one."""

    channels: int = 256
    context: int = 256  # channels of what the coarsest level is projected to
    low: tuple[int, ...] = (32, 64)  # channels of the finer levels, finest first
    rates: tuple[int, ...] = ()  # cells between the taps of dilated convolutions (ASPP), if any


@dataclass(frozen=True, kw_only=True)
class AxialDeepLabConfig(PanopticConfig):
    """Dual decoders and three heads; without ASPP, as attention sees the whole map."""

    semantic: Decoding = field(default_factory=Decoding)
    instance: Decoding = field(default_factory=lambda: Decoding(channels=128, low=(16, 32)))
    semantic_channels: int = 256  # inside the head for classes
    instance_channels: int = 32  # and those for centres and offsets
    levels: tuple[str, ...] | None = None  # finest first; two stages or quarters, the last, if None
    threshold: float = 0.1  # of the heat, above which a maximum is a centre
    window: int = 41  # pixels of the side of the square of which a centre is the maximum
    most: int = 400  # centres of a picture
    least_stuff: float = 0.01  # share of the picture that stuff covers at least

    def __post_init__(self) -> None:
        if self.window % 2 == 0:
            raise ConfigError(f"window is {self.window}; wanted: an odd number of pixels")

    def head(self, backbone: Backbone, num_classes: int) -> "AxialDeepLabHead":
        *finer, last = pyramid(backbone)
        levels = chosen(backbone, self.levels or (*finer[:2], last))
        return AxialDeepLabHead(self, levels, num_classes)


AT_16: dict[str, Any] = {"image_size": (640, 640), "output_stride": 16, "deep_stem": True}
SMALL = AxialDeepLabConfig(
    semantic=Decoding(channels=128, context=128),
    instance=Decoding(channels=64, context=128, low=(16, 32)),
    semantic_channels=128,
    window=21,
)

VARIANTS = {
    "axial_deeplab": Design(head=AxialDeepLabConfig(), num_classes=133),
    "axial_deeplab_small": Design(head=SMALL, num_classes=133),  # ours, for small machines
    "axial_deeplab_small_mit_b0": Design(head=SMALL, backbone="mit_b0", num_classes=133),
    "axial_deeplab_s": Design(
        head=AxialDeepLabConfig(),
        backbone="axial50s",
        changes={**AT_16, "stem_dim": 64},
        num_classes=133,
    ),
    "axial_deeplab_m": Design(
        head=AxialDeepLabConfig(),
        backbone="axial50m",
        changes={**AT_16, "stem_dim": 96},
        num_classes=133,
    ),
    "axial_deeplab_l": Design(
        head=AxialDeepLabConfig(),
        backbone="axial50l",
        changes={**AT_16, "stem_dim": 128},
        num_classes=133,
    ),
}

CLAIMS = {
    "axial_deeplab_s": Claim(params=12.1),
    "axial_deeplab_m": Claim(params=25.9),
    "axial_deeplab_l": Claim(params=44.9),
}

FORMATS: tuple[HeadFormat, ...] = ()


def separable(dim_in: int, dim: int, kernel: int = 5) -> nn.Sequential:
    """Return a convolution of each channel and one of each cell, both with batch norm and ReLU."""
    each = nn.Conv2d(dim_in, dim_in, kernel, padding=kernel // 2, groups=dim_in, bias=False)
    nn.init.trunc_normal_(each.weight, std=1 / kernel)
    return nn.Sequential(Normed(each), nn.ReLU(), conv_relu(dim_in, dim, 1))


def answering(dim_in: int, hidden: int, dim: int) -> nn.Sequential:
    """Return a head: what it sees of a cell's surroundings, and the answer."""
    return nn.Sequential(separable(dim_in, hidden), scoring(hidden, dim))


class Pooling(nn.Module):
    """Atrous spatial pyramid pooling: a cell, its surroundings at several rates, the whole map."""

    def __init__(self, dim_in: int, dim: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_relu(dim_in, dim, 1)])
        for rate in rates:
            branch = conv_relu(dim_in, dim, 3)
            for conv in branch.modules():
                if isinstance(conv, nn.Conv2d):
                    conv.dilation = conv.padding = (rate, rate)
            self.branches.append(branch)
        self.whole = conv_relu(dim_in, dim, 1)
        self.project = conv_relu((len(rates) + 2) * dim, dim, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Gather the context of each cell."""
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), whole], dim=1))


class Decoder(nn.Module):
    """A level with its context, brought to the grids of finer levels and joined with each.

    Args:
        dims: channels of the levels, finest first.
        how: the sizes.

    Raises:
        ConfigError: there are more levels than it has channels for.
    """

    def __init__(self, dims: Sequence[int], how: Decoding) -> None:
        super().__init__()
        *lower, top = dims
        if len(lower) > len(how.low):
            raise ConfigError(
                f"{len(dims)} levels are read, and low has {len(how.low)} numbers of channels; "
                "wanted: one for each level but the coarsest"
            )
        self.context = (
            Pooling(top, how.context, how.rates) if how.rates else conv_relu(top, how.context, 1)
        )
        self.drop = nn.Dropout(0.1)
        low = how.low[: len(lower)]
        self.lateral = nn.ModuleList(conv_relu(*pair, 1) for pair in zip(lower, low, strict=True))
        self.fuse = nn.ModuleList(
            separable((how.context if i + 1 == len(low) else how.channels) + width, how.channels)
            for i, width in enumerate(low)
        )
        self.channels = how.channels if low else how.context

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """Decode onto the finest level's grid."""
        *lower, top = maps
        x = self.drop(self.context(top))
        for low, lateral, fuse in zip(
            lower[::-1], [*self.lateral][::-1], [*self.fuse][::-1], strict=True
        ):
            x = fuse(torch.cat([resized(x, low.shape[2:]), lateral(low)], dim=1))
        return x


class AxialDeepLabHead(PanopticHead):
    """Two decoders on the same levels: one for classes, one for centres and offsets."""

    def __init__(
        self, config: AxialDeepLabConfig, levels: Sequence[Level], num_classes: int
    ) -> None:
        super().__init__(levels, config.among(num_classes))
        c = self.config = config
        dims = [level.channels for level in levels]
        self.semantic, self.instance = Decoder(dims, c.semantic), Decoder(dims, c.instance)
        self.classes = answering(self.semantic.channels, c.semantic_channels, num_classes)
        self.centre = answering(self.instance.channels, c.instance_channels, 1)
        self.offset = answering(self.instance.channels, c.instance_channels, 2)

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Score classes on the finest level's grid."""
        return self.classes(self.semantic(maps))

    def answers(self, taps: Sequence[Tap]) -> Answers:
        """Answer with classes, the heat of centres, and offsets to them in cells (rows first)."""
        maps = self.maps(taps)
        x = self.instance(maps)
        return {MAIN: self.decode(maps), CENTRE: self.centre(x), OFFSET: self.offset(x)}

    def enlarged(self, answers: Answers, size: Grid) -> Answers:
        """Return maps at a size, with offsets in its pixels."""
        found = {name: resized(t, size) for name, t in answers.items()}
        sides = zip(size, answers[OFFSET].shape[2:], strict=True)
        steps = answers[OFFSET].new_tensor([pixels / cells for pixels, cells in sides])
        return {**found, OFFSET: found[OFFSET] * steps[:, None, None]}

    def parts(self, answers: Answers) -> list[Parts]:
        """Give pixels of things to the centres that they point to, and stuff its classes."""
        classes = answers[MAIN].argmax(dim=1)
        pictures = zip(classes, answers[CENTRE][:, 0], answers[OFFSET], strict=True)
        return [self._parts(*picture) for picture in pictures]

    def _parts(
        self,
        classes: Int[Tensor, "h w"],
        heat: Float[Tensor, "h w"],
        offset: Float[Tensor, "2 h w"],
    ) -> Parts:
        c, found = self.config, Assembly(classes.shape, classes)
        thing = torch.isin(classes, classes.new_tensor(self.things))
        places = peaks(heat, c.threshold, c.window, c.most)
        if len(places):
            owner = nearest(places, offset).masked_fill(~thing, -1)
            for k in owner.unique().tolist():
                if k >= 0:
                    mask = owner == k
                    found.add(mask, int(torch.bincount(classes[mask]).argmax()))
        stuff = classes.masked_fill(thing, -1)
        for label in large(stuff, c.least_stuff).tolist():
            found.add(stuff == label, label)
        return found.parts()


def peaks(
    heat: Float[Tensor, "h w"], threshold: float, window: int, most: int
) -> Int[Tensor, "n 2"]:
    """Return rows and columns of the centres in a map of heat, hottest first; of equals the first.

    Args:
        heat: from 0 to 1.
        threshold: below it nothing is a centre.
        window: side of the square around a centre, odd, in which nothing is hotter.
        most: how many are returned at the most.
    """
    order = heat.flatten().argsort(descending=True, stable=True)
    rank = order.argsort().view_as(heat)
    first = -F.max_pool2d(-rank[None, None].double(), window, 1, window // 2)[0, 0]
    places = ((rank == first) & (heat > threshold)).nonzero()
    return places[rank[places[:, 0], places[:, 1]].argsort()[:most]]


def nearest(places: Int[Tensor, "n 2"], offset: Float[Tensor, "2 h w"]) -> Int[Tensor, "h w"]:
    """Return the number of the place that is nearest to where each pixel points."""
    rows, columns = (torch.arange(side, device=offset.device) for side in offset.shape[1:])
    y, x = offset[0] + rows[:, None], offset[1] + columns
    best = torch.full_like(y, torch.inf)
    owner = torch.zeros_like(y, dtype=torch.long)
    for k, (row, column) in enumerate(places.tolist()):
        apart = (y - row).square() + (x - column).square()
        owner[apart < best] = k
        best = torch.minimum(best, apart)
    return owner
