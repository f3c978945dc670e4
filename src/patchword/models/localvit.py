"""LocalViT: vision transformers whose feed-forward looks at each patch's neighbours.

Paper      Li et al., "LocalViT: Bringing Locality to Vision Transformers", 2021,
           arXiv:2104.05707
Reference  github.com/ofsoundof/LocalViT, models/localvit.py
Departures the last block's feed-forward, which the class token passes by, is left out where only
           `pooled` is asked for
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attention,
    Grid,
    PatchEmbed,
    StochasticDepth,
    ramp,
    to_map,
    to_tokens,
    truncated,
)
from patchword.models.vit import Stem, ViTConfig
from patchword.weights import Format, Rule

Act = Literal["relu6", "hs"]
Excite = Literal["se", "eca", "ecah"]
"""How channels are weighed by their means: squeeze-and-excitation; one small convolution over the
channels, with a sigmoid; the same with a hard sigmoid."""


@dataclass(frozen=True, kw_only=True)
class LocalViTConfig:
    """The sizes of a network, and what the paper's ablations compare."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 192  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 4
    mlp_ratio: float = 4.0  # hidden channels of the feed-forward per channel of a token
    act: Act = "hs"  # of the feed-forward; hs: hard swish
    excite: Excite | None = "se"
    reduction: int = 192  # hidden channels of the feed-forward per channel of its `se`
    depthwise: bool = True  # without it the feed-forward is not local
    qkv_bias: bool = True
    drop_rate: float = 0.0  # dropout: after the positions and each attention
    drop_path_rate: float = 0.0  # stochastic depth of the last attention; it rises from 0

    def build(self) -> "LocalViT":
        """Make the backbone, with fresh weights."""
        return LocalViT(self)


VARIANTS = {
    "localvit_tiny_mlp6_act1": LocalViTConfig(mlp_ratio=6.0, act="relu6", excite=None),
    "localvit_tiny_mlp4_act3_r4": LocalViTConfig(reduction=4),
    "localvit_tiny_mlp4_act3_r192": LocalViTConfig(),
    "localvit_small_mlp4_act3_r384": LocalViTConfig(embed_dim=384, num_heads=8, reduction=384),
    "localvit_mini_patch4_32": LocalViTConfig(
        image_size=(32, 32), patch_size=4, embed_dim=128, depth=4, reduction=4
    ),  # ours, for small pictures
}

CLAIMS: dict[str, Claim] = {
    "localvit_tiny_mlp4_act3_r4": Claim(top1=75.74, source="README"),
    "localvit_tiny_mlp4_act3_r192": Claim(params=5.7, top1=74.84, source="README"),
    "localvit_small_mlp4_act3_r384": Claim(top1=80.78, source="README"),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    Format(
        "authors",
        Rule("cls_token", "stem.prefix.class_token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.conv.conv.*", "blocks.#.local.layers.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class SqueezeExcite(nn.Module):
    """Weigh channels by a small network over all of their means (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Hardsigmoid()
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale each channel."""
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class EfficientChannelAttention(nn.Module):
    """Weigh channels by the means of those beside them (Wang et al. 2020, arXiv:1910.03151)."""

    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        reach = int((math.log2(channels) + 1) / 2) // 2  # to either side
        self.conv = nn.Conv1d(1, 1, 2 * reach + 1, padding=reach, bias=False)
        self.gate = gate

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale each channel."""
        return x * self.gate(self.conv(x.mean((2, 3))[:, None]))[:, 0, :, None, None]


class LocalFeedForward(nn.Module):
    """The feed-forward as an inverted residual: 1x1, depthwise 3x3 and 1x1 convolutions.

    Its skip belongs to it; there is no norm before it but the convolutions' own.

    Args:
        dim: channels of a token.
        hidden: channels between the 1x1 convolutions.
        act: hard swish (hs) or ReLU6.
        excite: how the hidden channels are weighed, if they are.
        reduction: hidden channels per channel of `se`.
        depthwise: whether it is local.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        act: Act = "hs",
        excite: Excite | None = "se",
        reduction: int = 4,
        depthwise: bool = True,
    ) -> None:
        super().__init__()
        bend = nn.Hardswish if act == "hs" else nn.ReLU6
        layers: list[nn.Module] = [
            *(nn.Conv2d(dim, hidden, 1, bias=False), nn.BatchNorm2d(hidden), bend())
        ]
        if depthwise:
            near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
            layers += [near, nn.BatchNorm2d(hidden), bend()]
        match excite:
            case "se":
                layers.append(SqueezeExcite(hidden, reduction))
            case "eca":
                layers.append(EfficientChannelAttention(hidden, nn.Sigmoid()))
            case "ecah":
                layers.append(EfficientChannelAttention(hidden, nn.Hardsigmoid()))
            case None:
                pass
        layers += [nn.Conv2d(hidden, dim, 1, bias=False), nn.BatchNorm2d(dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Transform the grid's tokens; prefix tokens, which are not on it, stay as they are."""
        cells = to_map(x, grid)
        cells = to_tokens(cells + self.layers(cells))
        prefix = x.shape[1] - cells.shape[1]
        return torch.cat([x[:, :prefix], cells], dim=1) if prefix else cells


class LocalBlock(nn.Module):
    """Attention over all tokens, then the local feed-forward."""

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        local: LocalFeedForward,
        *,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps), attn
        self.drop_path = StochasticDepth(drop_path)
        self.local = local

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix between tokens, then between neighbours.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: go on with the first k tokens alone, which are not on the grid; with all
                where it is None.
        """
        if queries is None:
            return self.local(x + self.drop_path(self.attn(self.norm1(x), grid)), grid)
        return x[:, :queries] + self.drop_path(self.attn(self.norm1(x), grid, queries))


class LocalViT(Backbone):
    """A plain transformer with local feed-forwards, read by its class token."""

    class_tokens = 1

    def __init__(self, config: LocalViTConfig) -> None:
        super().__init__()
        c = self.config = config
        stem = ViTConfig(
            image_size=c.image_size,
            patch_size=c.patch_size,
            embed_dim=c.embed_dim,
            resample="bicubic",
            drop_rate=c.drop_rate,
        )
        self.stem = Stem(stem, PatchEmbed(c.patch_size, c.in_chans, c.embed_dim))
        self.blocks = nn.ModuleList(
            LocalBlock(
                c.embed_dim,
                Attention(c.embed_dim, c.num_heads, qkv_bias=c.qkv_bias, drop=c.drop_rate),
                self.feed_forward(),
                drop_path=rate,
            )
            for rate in ramp(c.drop_path_rate, c.depth)
        )
        self.norm = nn.LayerNorm(c.embed_dim, 1e-6)
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size, c.patch_size), 1)
        self.multiple = c.patch_size
        self.width = c.embed_dim
        self.silent = (f"blocks.{c.depth - 1}.local.*",)
        self.head_std = 0.02
        self.apply(truncated)
        nn.init.trunc_normal_(self.stem.prefix["class_token"], std=0.02)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            last = i + 1 == len(self.blocks)
            x = block(x, grid, 1 if last and not taps else None)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def feed_forward(self) -> LocalFeedForward:
        """Make the local feed-forward of a block."""
        c = self.config
        return LocalFeedForward(
            c.embed_dim,
            int(c.embed_dim * c.mlp_ratio),
            act=c.act,
            excite=c.excite,
            reduction=c.reduction,
            depthwise=c.depthwise,
        )

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm."""
        return [self.stem, *self.blocks, self.norm]
