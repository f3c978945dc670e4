"""ViT: the Vision Transformer.

Paper      Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929
Reference  github.com/google-research/vision_transformer, vit_jax/models_vit.py; names, registers
           (Darcet et al. 2024, arXiv:2309.16588) and mean pooling as in timm
Departures GELU is exact by default, as in timm and transformers; the JAX code's is the tanh
           approximation (`act`). Biases of the MLP start at 0, theirs at noise of 1e-6
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attention,
    Block,
    Grid,
    LearnedPosition,
    Mlp,
    PatchEmbed,
    Position,
    QuickGELU,
    Resample,
    RowColumnPosition,
    SinCosPosition,
    ramp,
    truncated,
    xavier,
)
from patchword.weights import dinov2 as dinov2_weights
from patchword.weights import plain
from patchword.weights.google import google_formats


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Table 1 of the paper, and what its appendix D compares."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    act: Literal["exact", "tanh", "quick"] = "exact"  # the MLP's GELU; Google's by tanh
    prefix: tuple[Literal["class", "distillation"], ...] = ("class",)  # tokens that are read
    registers: int = 0  # tokens that are not
    pool: Literal["token", "mean", "both"] = "token"  # read the prefix tokens, or the patches'
    # mean, or the class token beside that mean
    norm_pooled: bool = False  # norm after pooling, not before (timm's `fc_norm`)
    position: Literal["learned", "learned_patches", "learned_2d", "sincos_2d", "none"] = "learned"
    resample: Resample = "bicubic_antialias"  # of learned positions, at another image size
    layer_scale: float | None = None  # start of LayerScale's factors
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0
    norm_eps: float = 1e-6
    fresh: Literal["xavier", "truncated"] = "xavier"  # how weights start: the paper's, DeiT's

    def build(self) -> "ViT":
        """Make the backbone, with fresh weights."""
        return ViT(self)


def sized(config: ViTConfig, side: int, patch_size: int | None = None) -> ViTConfig:
    """Return the same network for square images, and perhaps patches, of another side in pixels."""
    return replace(config, image_size=(side, side), patch_size=patch_size or config.patch_size)


TINY = ViTConfig(embed_dim=192, num_heads=3)
SMALL = ViTConfig(embed_dim=384, num_heads=6)
BASE = ViTConfig()
LARGE = ViTConfig(embed_dim=1024, depth=24, num_heads=16)
HUGE = ViTConfig(patch_size=14, embed_dim=1280, depth=32, num_heads=16)
GIANT = ViTConfig(patch_size=14, embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11)
MINI = ViTConfig(embed_dim=128, depth=4, num_heads=4, prefix=(), pool="mean")
MICRO = ViTConfig(embed_dim=64, depth=4, num_heads=4, prefix=(), pool="mean")
GIGANTIC = ViTConfig(patch_size=14, embed_dim=1664, depth=48, num_heads=16, mlp_ratio=64 / 13)


def gap(config: ViTConfig, *, registers: int = 0, norm_pooled: bool = False) -> ViTConfig:
    """Return the same network without a class token, read by the mean of its patches."""
    position = "learned_patches" if registers else config.position
    return replace(
        config,
        prefix=(),
        pool="mean",
        registers=registers,
        position=position,
        norm_pooled=norm_pooled,
    )


def dinov2(config: ViTConfig, *, registers: int = 0) -> ViTConfig:
    """Return the network that DINOv2 trains (Oquab et al. 2023, arXiv:2304.07193)."""
    position = "learned_patches" if registers else "learned"
    config = replace(config, registers=registers, position=position, layer_scale=1e-5)
    return sized(config, 518, 14)


VARIANTS = {
    "vit_tiny_patch16_224": TINY,
    "vit_tiny_patch16_384": sized(TINY, 384),
    "vit_small_patch32_224": sized(SMALL, 224, 32),
    "vit_small_patch32_384": sized(SMALL, 384, 32),
    "vit_small_patch16_224": SMALL,
    "vit_small_patch16_384": sized(SMALL, 384),
    "vit_small_patch8_224": sized(SMALL, 224, 8),
    "vit_base_patch32_224": sized(BASE, 224, 32),
    "vit_base_patch32_384": sized(BASE, 384, 32),
    "vit_base_patch16_224": BASE,
    "vit_base_patch16_384": sized(BASE, 384),
    "vit_base_patch8_224": sized(BASE, 224, 8),
    "vit_large_patch32_224": sized(LARGE, 224, 32),
    "vit_large_patch32_384": sized(LARGE, 384, 32),
    "vit_large_patch16_224": LARGE,
    "vit_large_patch16_384": sized(LARGE, 384),
    "vit_large_patch14_224": sized(LARGE, 224, 14),
    "vit_huge_patch14_224": HUGE,
    "vit_giant_patch14_224": GIANT,
    "vit_gigantic_patch14_224": GIGANTIC,
    "vit_base_patch16_gap_224": replace(gap(BASE), num_heads=16),  # as in timm
    "vit_huge_patch14_gap_224": gap(HUGE),
    "vit_huge_patch16_gap_448": sized(gap(HUGE), 448, 16),
    "vit_giant_patch16_gap_224": sized(gap(GIANT), 224, 16),
    "vit_base_patch16_reg4_gap_256": sized(gap(BASE, registers=4, norm_pooled=True), 256),
    "vit_small_patch14_dinov2": dinov2(SMALL),
    "vit_base_patch14_dinov2": dinov2(BASE),
    "vit_large_patch14_dinov2": dinov2(LARGE),
    "vit_small_patch14_reg4_dinov2": dinov2(SMALL, registers=4),
    "vit_base_patch14_reg4_dinov2": dinov2(BASE, registers=4),
    "vit_large_patch14_reg4_dinov2": dinov2(LARGE, registers=4),
    # ours, for pictures too small for the field's sizes
    "vit_micro_patch2_8": sized(MICRO, 8, 2),
    "vit_mini_patch2_8": sized(MINI, 8, 2),
    "vit_mini_patch4_28": sized(MINI, 28, 4),
    "vit_mini_patch4_32": sized(MINI, 32, 4),
    "vit_mini_patch7_28": sized(MINI, 28, 7),
    "vit_mini_patch8_64": sized(MINI, 64, 8),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

FORMATS = (
    *plain.FORMATS,
    *dinov2_weights.FORMATS,
    *google_formats({"act": "tanh", "resample": "linear"}),
)
CONFIGS = (*plain.CONFIGS, *dinov2_weights.CONFIGS)


ACTS = {"exact": nn.GELU, "tanh": partial(nn.GELU, approximate="tanh"), "quick": QuickGELU}


class Stem(nn.Module):
    """From images to the sequence that the blocks read (equation 1)."""

    def __init__(self, config: ViTConfig, patch_embed: nn.Module) -> None:
        super().__init__()
        c = config
        self.patch_embed = patch_embed
        counts = {**{f"{name}_token": 1 for name in c.prefix}, "registers": c.registers}
        self.prefix = nn.ParameterDict(
            {name: torch.zeros(1, count, c.embed_dim) for name, count in counts.items() if count}
        )
        self.count = sum(counts.values())
        self.position = positions(c, self.count)
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return prefix tokens and patches, with their positions, and the patches' grid."""
        return self.placed(*self.patch_embed(images))

    def placed(
        self, x: Float[Tensor, "b cells d"], grid: Grid
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Put prefix tokens before patches, and add positions."""
        position = self.position(grid)
        if self.position.prefix == 0:
            x = x + position
        if self.count:
            prefix = torch.cat(list(self.prefix.values()), dim=1)
            x = torch.cat([prefix.expand(len(x), -1, -1), x], dim=1)
        if self.position.prefix:
            x = x + position
        return self.drop(x), grid


class NoPosition(Position):
    """No positions: the tokens are a bag of patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(1, 1, dim), persistent=False)

    zero: Tensor

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return zeros."""
        return self.zero.expand(-1, grid[0] * grid[1], -1)


def positions(config: ViTConfig, prefix: int) -> Position:
    """Make the positions that a config names (appendix D.4)."""
    c = config
    side_rows, side_columns = (-(-side // c.patch_size) for side in c.image_size)
    grid = (side_rows, side_columns)
    match c.position:
        case "learned":
            return LearnedPosition(grid, c.embed_dim, prefix=prefix, mode=c.resample)
        case "learned_patches":
            return LearnedPosition(grid, c.embed_dim, prefix=0, mode=c.resample)
        case "learned_2d":
            return RowColumnPosition(grid, c.embed_dim, mode=c.resample)
        case "sincos_2d":
            return SinCosPosition(c.embed_dim)
        case "none":
            return NoPosition(c.embed_dim)


class ViT(Backbone):
    """A plain transformer over patches: one resolution and one width from end to end.

    Args:
        config: the sizes.
        patch_embed: images to (tokens, grid), a cell per `patch_size` pixels; PatchEmbed if None.
    """

    def __init__(self, config: ViTConfig, patch_embed: nn.Module | None = None) -> None:
        super().__init__()
        c = self.config = config
        hidden = int(c.embed_dim * c.mlp_ratio)
        self.stem = Stem(c, patch_embed or PatchEmbed(c.patch_size, c.in_chans, c.embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                c.embed_dim,
                Attention(c.embed_dim, c.num_heads, drop=c.drop_rate),
                Mlp(c.embed_dim, hidden, act=ACTS[c.act], drop=c.drop_rate),
                drop_path=rate,
                layer_scale=c.layer_scale,
                eps=c.norm_eps,
            )
            for rate in ramp(c.drop_path_rate, c.depth)
        )
        norms = [nn.LayerNorm(c.embed_dim, c.norm_eps), nn.Identity()]
        self.norm, self.fc_norm = reversed(norms) if c.norm_pooled else norms
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size,) * 2, self.stem.count)
        self.multiple = c.patch_size
        tokens = max(len(c.prefix), 1) if c.pool == "token" else 1
        self.readouts = ("label", "distillation")[:tokens]
        self.class_tokens = tokens if c.pool == "token" else 0
        self.width = c.embed_dim * (2 if c.pool == "both" else len(self.readouts))
        self.apply(xavier if c.fresh == "xavier" else truncated)
        if c.fresh == "truncated":
            self.head_std = 0.02
            for token in self.stem.prefix.values():
                nn.init.trunc_normal_(token, std=0.02)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images (section 3.1, equations 1 to 4); `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.enter(images, trace)
        tokens, read = self.config.pool == "token", len(self.readouts)
        for i, block in enumerate(self.blocks):
            x = block(x, grid, read if tokens and not taps and i + 1 == self.config.depth else None)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        pooled = x[:, :read].flatten(1) if tokens else x[:, self.stem.count :].mean(dim=1)
        if self.config.pool == "both":
            pooled = torch.cat([x[:, 0], pooled], dim=1)
        return trace.features(self.fc_norm(pooled))

    def enter(
        self, images: Float[Tensor, "b c h w"], trace: Trace
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return what the first block reads, and let levels before it be kept."""
        return self.stem(images)

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm."""
        return [self.stem, *self.blocks, nn.ModuleList([self.norm, self.fc_norm])]
