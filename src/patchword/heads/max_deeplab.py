"""MaX-DeepLab: slots of a memory that look at the pixels and become a mask and a class each.

Paper      Wang et al., "MaX-DeepLab: End-to-End Panoptic Segmentation with Mask Transformers",
           CVPR 2021, arXiv:2012.00759
Reference  github.com/google-research/deeplab2, model/layers/dual_path_transformer.py and
           resized_fuse.py, model/encoder/axial_resnet.py, model/decoder/max_deeplab.py,
           model/post_processor/max_deeplab.py; their tensors are of TensorFlow, and not read
Departures the last, dual-path stage stands on any levels; these are read as a backbone leaves them,
           in a ResNet after its ReLU, and each keeps its channels in the stacked decoder; the
           auxiliary semantic head has no score for void; sides are multiples of the stride, where
           theirs have one pixel more; least areas are shares of the picture
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.errors import ConfigError
from patchword.features import Backbone, Level, Tap
from patchword.heads.axial_deeplab import Decoder, Decoding, answering
from patchword.heads.dense import MAIN, Design, chosen, conv_relu, pyramid, resized
from patchword.heads.panoptic import (
    Answers,
    Assembly,
    PanopticConfig,
    PanopticHead,
    Parts,
    large,
)
from patchword.layers import (
    AxialAttention,
    Grid,
    Normed,
    Operator,
    StochasticDepth,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
)
from patchword.weights import HeadFormat

MASKS, CLASSES, PIXELS, SEMANTIC = "masks", "classes", "pixels", "semantic"


@dataclass(frozen=True, kw_only=True)
class Path:
    """One dual-path layer: what pixels and memory say to each other."""

    filters: int = 128  # channels of queries and keys; values and the bottleneck have twice as many
    num_heads: int = 8
    hidden: int = 2048  # channels inside the memory's feed-forward


@dataclass(frozen=True, kw_only=True)
class MaXDeepLabConfig(PanopticConfig):
    """MaX-DeepLab-S above its backbone."""

    slots: int = 128  # segments that a picture can have
    memory: int = 256  # channels of a slot
    path: Path = field(default_factory=Path)
    channels: int = 2048  # of the pixels in the dual-path stage
    blocks: tuple[int, int] = (3, 1)  # dual-path blocks, before and after the semantic head reads
    num_heads: int = 8  # of axial attention
    span: int = 64  # cells of a line that its codes are for; for others they are resampled
    drop_path_rate: float = 0.2  # stochastic depth of all branches of these blocks
    pixel_channels: int = 128  # that masks are scalar products of
    head_channels: int = 256  # inside the heads
    semantic: Decoding = field(default_factory=lambda: Decoding(rates=(6, 12, 18)))
    norm_momentum: float = 0.01  # by which batch norms take up a batch's statistics
    levels: tuple[str, ...] | None = None  # that are read, finest first; stages or quarters if None
    class_threshold: float = 0.7  # probability of a slot's class, from which it is there
    pixel_threshold: float = 0.4  # and of a pixel's slot, above which the pixel is its
    least_thing: float = 256 / 1025**2  # share of the picture that a thing covers at least
    least_stuff: float = 4096 / 1025**2

    def __post_init__(self) -> None:
        if self.blocks[0] < 1 or self.channels % (4 * self.num_heads):
            raise ConfigError(
                f"blocks is {self.blocks}, channels {self.channels}, num_heads {self.num_heads}; "
                "wanted: a block or more at first, and a multiple of four channels for each head"
            )

    def head(self, backbone: Backbone, num_classes: int) -> "MaXDeepLabHead":
        levels = chosen(backbone, self.levels or pyramid(backbone))
        return MaXDeepLabHead(self, levels, num_classes)


SMALL: dict[str, Any] = {
    "image_size": (1024, 1024),
    "stem_dim": 128,
    "embed_dim": (256, 512, 1024),
    "depth": (3, 4, 6),
    "since": 2,
    "deep_stem": True,
}

VARIANTS = {
    "max_deeplab": Design(head=MaXDeepLabConfig(), num_classes=133),
    "max_deeplab_s": Design(
        head=MaXDeepLabConfig(), backbone="axial50l", changes=SMALL, num_classes=133
    ),
}

CLAIMS = {"max_deeplab_s": Claim(params=61.9, source="paper, without the auxiliary head")}

FORMATS: tuple[HeadFormat, ...] = ()


class NormedAttention(Operator):
    """relu(norm(softmax(norm(q k')) v)): a batch norm of the scores in place of their scale."""

    linear = False

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.norm_scores, self.norm = nn.BatchNorm2d(heads), nn.BatchNorm1d(dim)

    def forward(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], v: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b n d"]:
        """Attend from n queries to m keys."""
        x = merge_heads(self.weights(q, k, v) @ v)
        return self.norm(x.flatten(0, 1)).view_as(x).relu()

    def weights(self, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "b h n m"]:
        """Return what values are mixed by."""
        return self.norm_scores(q @ k.mT).softmax(-1)


def linear(dim_in: int, dim: int, *, scale: float = 1.0) -> Normed:
    """Return a linear map with batch norm; with a scale of 0, of a branch that starts closed."""
    return Normed(nn.Linear(dim_in, dim, bias=False), scale=scale)


class DualPath(nn.Module):
    """Memory reads pixels and itself, pixels read the memory (section 3.2, equations 3 to 6)."""

    def __init__(self, dim: int, memory: int, path: Path, drop_path: float = 0.0) -> None:
        super().__init__()
        wide = 2 * path.filters
        self.heads, self.split = path.num_heads, (path.filters, path.filters, wide)
        self.enter_pixels, self.enter_memory = linear(dim, wide), linear(memory, wide)
        self.qkv_pixels, self.qkv_memory = linear(wide, 2 * wide), linear(wide, 2 * wide)
        for qkv in (self.qkv_pixels, self.qkv_memory):
            nn.init.trunc_normal_(qkv.linear.weight, std=wide**-0.5)
        self.attend_pixels = NormedAttention(path.num_heads, wide)
        self.attend_memory = NormedAttention(path.num_heads, wide)
        self.leave_pixels = linear(wide, dim, scale=0.0)
        self.leave_memory = linear(wide, memory, scale=0.0)
        self.hidden, self.out = linear(memory, path.hidden), linear(path.hidden, memory, scale=0.0)
        self.drops = nn.ModuleList(StochasticDepth(drop_path) for _ in range(3))

    def forward(
        self, pixels: Float[Tensor, "b n c"], memory: Float[Tensor, "b slots d"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b slots d"]]:
        """Return both after each has read the other; pixels come and leave without a ReLU."""
        q, k, v = self._qkv(self.qkv_pixels, self.enter_pixels(pixels.relu()))
        asked, key, value = self._qkv(self.qkv_memory, self.enter_memory(memory))
        read = self.attend_memory(asked, torch.cat([k, key], 2), torch.cat([v, value], 2))
        memory = (memory + self.drops[0](self.leave_memory(read))).relu()
        memory = (memory + self.drops[1](self.out(self.hidden(memory).relu()))).relu()
        read = self.attend_pixels(q, key, value)
        return pixels + self.drops[2](self.leave_pixels(read)), memory

    def _qkv(self, linear: nn.Module, x: Tensor) -> list[Tensor]:
        parts = linear(x.relu()).split(self.split, dim=-1)
        return [split_heads(part, self.heads) for part in parts]


class Bottleneck(nn.Module):
    """A residual block, before its last ReLU: fewer channels, a mixing of cells, and back.

    Args:
        dim_in: channels of the map.
        dim: channels of what is returned.
        hidden: channels inside.
        mix: what mixes the cells of the hidden map.
        drop_path: rate of stochastic depth.
    """

    def __init__(
        self, dim_in: int, dim: int, hidden: int, mix: nn.Module, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.down, self.mix = conv_relu(dim_in, hidden, 1), mix
        self.up = Normed(nn.Conv2d(hidden, dim, 1, bias=False), scale=0.0)
        self.shortcut = nn.Identity()
        if dim_in != dim:
            self.shortcut = Normed(nn.Conv2d(dim_in, dim, 1, bias=False))
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Add what the branch makes of a map."""
        return self.shortcut(x) + self.drop_path(self.up(self.mix(self.down(x))))


class DualBlock(nn.Module):
    """Pixels along the lines of their map, then pixels and memory (figure 3)."""

    def __init__(self, dim_in: int, config: MaXDeepLabConfig) -> None:
        super().__init__()
        c, hidden = config, config.channels // 2
        lines = (
            AxialAttention(hidden, hidden, c.num_heads, c.span, across=across)
            for across in (False, True)
        )
        mix = nn.Sequential(*lines, nn.ReLU())
        self.pixels = Bottleneck(dim_in, c.channels, hidden, mix, c.drop_path_rate)
        self.path = DualPath(c.channels, c.memory, c.path, c.drop_path_rate)

    def forward(
        self, x: Float[Tensor, "b c h w"], memory: Float[Tensor, "b slots d"]
    ) -> tuple[Float[Tensor, "b e h w"], Float[Tensor, "b slots d"]]:
        """Return the map, before its ReLU, and the memory."""
        x = self.pixels(x)
        pixels, memory = self.path(to_tokens(x), memory)
        return to_map(pixels, tuple(x.shape[2:])), memory


class Upward(nn.Module):
    """A stage of the stacked decoder: a map brought to a finer level, and one block there."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Identity()
        if dim_in != dim:
            self.project = nn.Sequential(nn.ReLU(), Normed(nn.Conv2d(dim_in, dim, 1, bias=False)))
        hidden = max(dim // 4, 1)
        self.block = Bottleneck(dim, dim, hidden, conv_relu(hidden, hidden, 3))

    def forward(
        self, x: Float[Tensor, "b c h w"], level: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b d H W"]:
        """Return the finer map, before its ReLU."""
        return self.block((resized(self.project(x), level.shape[2:], aligned=True) + level).relu())


class MaXDeepLabHead(PanopticHead):
    """A dual-path stage on the coarsest level, a decoder to the finest, and a mask per slot."""

    silent = ("*.norm_scores.bias",)  # one number more for all scores of a softmax

    def __init__(self, config: MaXDeepLabConfig, levels: Sequence[Level], num_classes: int) -> None:
        super().__init__(levels, config.among(num_classes))
        c = self.config = config
        *lower, top = (level.channels for level in levels)
        self.memory = nn.Parameter(torch.empty(c.slots, c.memory))
        nn.init.trunc_normal_(self.memory)
        dims = [top, *[c.channels] * (sum(c.blocks) - 1)]
        self.blocks = nn.ModuleList(DualBlock(dim, c) for dim in dims)
        dims = [c.channels, *lower[::-1]]
        self.upward = nn.ModuleList(Upward(*pair) for pair in pairwise(dims))
        self.for_classes, self.for_masks = (linear(c.memory, c.head_channels) for _ in range(2))
        self.classes = nn.Linear(c.head_channels, num_classes + 1)
        nn.init.trunc_normal_(self.classes.weight, std=0.01)
        nn.init.zeros_(self.classes.bias)
        self.void = log(num_classes * 0.9 / 0.1)  # added to void's score, which so starts at 0.9
        self.kernels = linear(c.head_channels, c.pixel_channels)
        self.pixels = answering(dims[-1], c.head_channels, c.pixel_channels)
        self.norm_pixels, self.norm_masks = nn.BatchNorm2d(c.pixel_channels), nn.BatchNorm2d(1)
        nn.init.constant_(self.norm_masks.weight, 0.1)
        self.decoder = Decoder([*lower[:2], c.channels], c.semantic)
        self.semantic = answering(self.decoder.channels, c.head_channels, num_classes)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.eps, part.momentum = 1e-3, c.norm_momentum  # Keras'

    def answers(self, taps: Sequence[Tap]) -> Answers:
        """Answer with scores of masks and classes by slot, pixels of length 1, and of classes.

        Returns:
            `masks` (b slots rows columns), `classes` (b slots classes + 1) with void last, `pixels`
            (b channels rows columns), and the auxiliary head's `semantic` (b classes rows columns).
        """
        *lower, x = self.maps(taps)
        memory = self.memory.expand(len(x), -1, -1)
        seen = x
        for i, block in enumerate(self.blocks):
            x, memory = block(x.relu() if i else x, memory)
            seen = x.relu() if i + 1 == self.config.blocks[0] else seen
        for up, level in zip(self.upward, lower[::-1], strict=True):
            x = up(x, level)
        pixels = F.normalize(self.norm_pixels(self.pixels(x.relu())), dim=1)
        kernels = self.kernels(self.for_masks(memory).relu())
        masks = torch.einsum("bdhw,bsd->bshw", pixels, kernels)
        masks = self.norm_masks(masks.flatten(1, 2)[:, None])[:, 0].view_as(masks)
        scores = self.classes(self.for_classes(memory).relu())
        scores = torch.cat([scores[..., :-1], scores[..., -1:] + self.void], dim=-1)
        semantic = self.semantic(self.decoder([*lower[:2], seen]))
        return {MASKS: masks, CLASSES: scores, PIXELS: pixels, SEMANTIC: semantic}

    def decode(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> Float[Tensor, "b classes rows columns"]:
        """Score classes by all masks: each slot's, as far as a pixel is in it."""
        return self.heads([Tap(x, x.new_empty(len(x), 0, x.shape[1])) for x in maps])[MAIN]

    def heads(self, taps: Sequence[Tap]) -> dict[str, Float[Tensor, "b classes _ _"]]:
        """Answer by name: `main`, which is from the masks, and `semantic`."""
        found = self.answers(taps)
        classes = found[CLASSES].softmax(-1)[..., :-1]
        shares = torch.einsum("bshw,bsc->bchw", found[MASKS].softmax(1), classes)
        return {MAIN: shares.clamp(min=1e-12).log(), SEMANTIC: found[SEMANTIC]}

    def enlarged(self, answers: Answers, size: Grid) -> Answers:
        """Return masks at a size, and the classes of slots."""
        return {MASKS: resized(answers[MASKS], size), CLASSES: answers[CLASSES]}

    def parts(self, answers: Answers) -> list[Parts]:
        """Give pixels to the slots that are there, and join those of one kind of stuff."""
        sure, classes = answers[CLASSES].softmax(-1)[..., :-1].max(-1)
        pictures = zip(answers[MASKS], sure, classes.tolist(), strict=True)
        return [self._parts(*picture) for picture in pictures]

    def _parts(self, masks: Tensor, sure: Tensor, classes: list[int]) -> Parts:
        c, found = self.config, Assembly(masks.shape[1:], masks)
        there = sure >= c.class_threshold
        if not there.any():
            return found.parts()
        only = masks.masked_fill(~there[:, None, None], -torch.inf)
        slots = only.argmax(0)
        its = (only.softmax(0).amax(0) > c.pixel_threshold) & (masks.argmax(0) == slots)
        slots = slots.masked_fill(~its, -1)
        stuff = torch.full_like(slots, -1)
        for slot in slots.unique().tolist():
            if slot >= 0 and classes[slot] not in self.things:
                stuff[slots == slot] = classes[slot]
        for slot in large(slots.masked_fill(stuff >= 0, -1), c.least_thing).tolist():
            found.add(slots == slot, classes[slot])
        for label in large(stuff, c.least_stuff).tolist():
            found.add(stuff == label, label)
        return found.parts()
