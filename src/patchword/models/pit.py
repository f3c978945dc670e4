"""PiT: a ViT that trades resolution for channels as it goes, by pooling layers between stages.

Paper      Heo et al., "Rethinking Spatial Dimensions of Vision Transformers", ICCV 2021,
           arXiv:2103.16302
Reference  github.com/naver-ai/pit, pit.py; timm's pit.py
Departures other image sizes by bicubic positions, where both refuse them; stochastic depth rises
           as in the authors' code, whose last block stays a step below the rate
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Attention,
    Block,
    Fitted,
    Grid,
    Mlp,
    Position,
    StridedDepthwise,
    admit,
    to_map,
    to_tokens,
)
from patchword.layers.position import resample
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class PiTConfig:
    """Table 1 of the paper; what differs between stages is a tuple."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels; neighbouring patches overlap
    stride: int = 8  # pixels from one patch to the next
    in_chans: int = 3
    embed_dim: tuple[int, ...] = (64, 128, 256)  # each a multiple of the one before
    depth: tuple[int, ...] = (2, 6, 4)  # blocks
    num_heads: tuple[int, ...] = (2, 4, 8)
    mlp_ratio: float = 4.0
    prefix: tuple[Literal["class", "distillation"], ...] = ("class",)  # tokens that are read
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth rises towards it from 0

    def build(self) -> "PiT":
        """Make the backbone, with fresh weights."""
        return PiT(self)


def distilled(config: PiTConfig) -> PiTConfig:
    """Add DeiT's distillation token, which stands after the class token."""
    return replace(config, prefix=("class", "distillation"))


TINY = PiTConfig()
EXTRA_SMALL = PiTConfig(embed_dim=(96, 192, 384))
SMALL = PiTConfig(embed_dim=(144, 288, 576), num_heads=(3, 6, 12))
BASE = PiTConfig(
    patch_size=14, stride=7, embed_dim=(256, 512, 1024), depth=(3, 6, 4), num_heads=(4, 8, 16)
)

VARIANTS = {
    "pit_ti_224": TINY,
    "pit_xs_224": EXTRA_SMALL,
    "pit_s_224": SMALL,
    "pit_b_224": BASE,
    "pit_ti_distilled_224": distilled(TINY),
    "pit_xs_distilled_224": distilled(EXTRA_SMALL),
    "pit_s_distilled_224": distilled(SMALL),
    "pit_b_distilled_224": distilled(BASE),
    "pit_mini_patch4_32": PiTConfig(
        image_size=(32, 32),
        patch_size=4,
        stride=2,
        embed_dim=(64, 128),
        depth=(2, 3),
        num_heads=(2, 4),
    ),  # ours, for small pictures
}

CLAIMS = {
    "pit_ti_224": Claim(params=4.85, macs=0.70, top1=73.0),
    "pit_xs_224": Claim(params=10.62, macs=1.40, top1=78.1),
    "pit_s_224": Claim(params=23.46, macs=2.87, top1=80.9),
    "pit_b_224": Claim(params=73.76, macs=12.40, top1=82.0),
    "pit_ti_distilled_224": Claim(top1=74.6),
    "pit_xs_distilled_224": Claim(top1=79.1),
    "pit_s_distilled_224": Claim(top1=81.9),
    "pit_b_distilled_224": Claim(top1=84.0),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def named(project: str, *pools: Rule) -> Format:
    """Return the names of a project; they differ in whether a pooling layer begins its stage."""
    return Format(
        project,
        Rule("cls_token", "stem.prefix"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.conv.*", "stem.patch_embed.*"),
        *pools,
        Rule("transformers.#.blocks.#.*", "stages.#.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"), Rule("head_dist.*", "head.distillation.*")),
    )


FORMATS = (
    named("timm", Rule("transformers.{#+1}.pool.*", "pools.#.*")),
    named("authors", Rule("pools.#.*", "pools.#.*")),
)


class MapPosition(Position):
    """A learned vector per cell, held as the map that it is added to."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.empty(1, dim, *grid))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return the table, bicubic where the grid is another."""
        return resample(to_tokens(self.table), self.grid, grid, "bicubic")

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this grid."""
        if not isinstance(old, MapPosition) or old.grid == self.grid:
            return ""
        self.table.copy_(to_map(old(self.grid), self.grid))
        sizes = ("x".join(map(str, grid)) for grid in (old.grid, self.grid))
        return f"positions resampled from {' to '.join(sizes)} (bicubic)"


class Stem(nn.Module):
    """Overlapping patches with their positions, after the tokens that are read in the end."""

    def __init__(self, config: PiTConfig) -> None:
        super().__init__()
        c, dim = config, config.embed_dim[0]
        self.patch_embed = nn.Conv2d(c.in_chans, dim, c.patch_size, c.stride)
        self.prefix = nn.Parameter(torch.empty(1, len(c.prefix), dim))
        nn.init.trunc_normal_(self.prefix, std=0.02)
        self.position = MapPosition(self.grid(c.image_size), dim)
        self.drop = nn.Dropout(c.drop_rate)

    def grid(self, size: Sequence[int]) -> Grid:
        """Count the patches that lie wholly on an image.

        Raises:
            ShapeError: none does.
        """
        patch, stride = self.patch_embed.kernel_size[0], self.patch_embed.stride[0]
        if min(size) < patch:
            sides = "x".join(map(str, size))
            raise ShapeError(f"the image is {sides} pixels, less than a patch of {patch}")
        return tuple((side - patch) // stride + 1 for side in size)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return prefix tokens and patches, and the patches' grid."""
        admit(images, self.patch_embed.in_channels)
        grid = self.grid(images.shape[2:])
        x = self.drop(to_tokens(self.patch_embed(images)) + self.position(grid))
        return torch.cat([self.prefix.expand(len(x), -1, -1), x], dim=1), grid


class Pool(nn.Module):
    """Half the cells along each axis and more channels (figure 4)."""

    def __init__(self, dim: int, wider: int) -> None:
        super().__init__()
        self.conv = StridedDepthwise(dim, wider, 3, stride=2)
        self.fc = nn.Linear(dim, wider)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Pool the patches by a depth-wise convolution, widen the prefix tokens by a linear map."""
        prefix = self.fc(x[:, : x.shape[1] - prod(grid)])
        cells = self.conv(to_map(x, grid))
        return torch.cat([prefix, to_tokens(cells)], dim=1), tuple(cells.shape[2:])


class PiT(Backbone):
    """Stages of transformer blocks, each on a quarter of the patches of the one before."""

    def __init__(self, config: PiTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = Stem(c)
        self.stages = nn.ModuleList(
            nn.ModuleList(stage_block(c, stage, place) for place in range(depth))
            for stage, depth in enumerate(c.depth)
        )
        self.pools = nn.ModuleList(Pool(dim, wider) for dim, wider in pairwise(c.embed_dim))
        self.norm = nn.LayerNorm(c.embed_dim[-1], eps=1e-6)
        strides = [(c.stride << stage,) * 2 for stage in range(len(c.depth))]
        stages = [
            Level(f"stages.{i}", dim, stride, len(c.prefix))
            for i, (dim, stride) in enumerate(zip(c.embed_dim, strides, strict=True))
        ]
        self.levels = (*stages, replace(stages[-1], name="final"))
        self.readouts = ("label", "distillation")[: len(c.prefix)]
        self.class_tokens = len(c.prefix)
        self.width = c.embed_dim[-1] * len(c.prefix)
        self.head_std = (3 * c.embed_dim[-1]) ** -0.5  # of torch's uniform start, the authors'

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        read = len(self.config.prefix)
        for i, stage in enumerate(self.stages):
            if i:
                x, grid = self.pools[i - 1](x, grid)
            *blocks, last = stage.children()
            for block in blocks:
                x = block(x, grid)
            x = last(x, grid, read if i + 1 == len(self.stages) and not taps else None)
            trace.tokens(f"stages.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, :read].flatten(1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks with the pooling layers between, and the last norm."""
        parts: list[nn.Module] = [self.stem]
        for i, stage in enumerate(self.stages):
            parts += [*self.pools[max(i - 1, 0) : i], *stage.children()]
        return [*parts, self.norm]


def stage_block(config: PiTConfig, stage: int, place: int) -> Block:
    """Make the block at a place of a stage."""
    c, dim = config, config.embed_dim[stage]
    return Block(
        dim,
        Attention(dim, c.num_heads[stage], drop=c.drop_rate),
        Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate),
        drop_path=c.drop_path_rate * (sum(c.depth[:stage]) + place) / sum(c.depth),
    )
