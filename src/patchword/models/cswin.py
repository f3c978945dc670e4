"""CSWin: a pyramid whose heads attend in stripes, half of them upright and half lying.

Paper      Dong et al., "CSWin Transformer: A General Vision Transformer Backbone with
           Cross-Shaped Windows", CVPR 2022, arXiv:2107.00652
Reference  github.com/microsoft/CSWin-Transformer, models/cswin.py; maps that stripes do not tile
           are padded as in its segmentation/backbone/cswin_transformer.py
Departures none; where a stripe is as wide as the map, the reference keeps one branch of all heads
           and we two of half of them, which is the same function
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Attend,
    Block,
    ConvEmbed,
    Grid,
    Layout,
    Mixer,
    Mlp,
    Stage,
    admit,
    in_depth,
    parted,
    ramp,
    to_windows,
    truncated,
)
from patchword.weights import Format, Rule, modules, within

EPS = 1e-5  # of every layer norm


@dataclass(frozen=True, kw_only=True)
class CSWinConfig:
    """The sizes of a network; tuples have an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns
    in_chans: int = 3  # channels of an image
    embed_dim: int = 64  # channels of a token in the first stage; they double in each later one
    depth: tuple[int, ...] = (1, 2, 21, 1)  # blocks
    num_heads: tuple[int, ...] = (2, 4, 8, 16)
    stripes: tuple[int | None, ...] = (1, 2, 7, None)  # cells across one; None: the whole map
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    qkv_bias: bool = True
    drop_rate: float = 0.0  # dropout: after each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "CSWin":
        """Make the backbone, with fresh weights."""
        return CSWin(self)


TINY = CSWinConfig()
SMALL = CSWinConfig(depth=(2, 4, 32, 2))
BASE = replace(SMALL, embed_dim=96, num_heads=(4, 8, 16, 32))
LARGE = replace(SMALL, embed_dim=144, num_heads=(6, 12, 24, 24))


def at_384(config: CSWinConfig) -> CSWinConfig:
    """Return the same network for images of 384 pixels, with wider stripes."""
    return replace(config, image_size=(384, 384), stripes=(1, 2, 12, None))


VARIANTS = {
    "CSWin_64_12211_tiny_224": TINY,
    "CSWin_64_24322_small_224": SMALL,
    "CSWin_96_24322_base_224": BASE,
    "CSWin_144_24322_large_224": LARGE,
    "CSWin_96_24322_base_384": at_384(BASE),
    "CSWin_144_24322_large_384": at_384(LARGE),
}

CLAIMS: dict[str, Claim] = {
    "CSWin_64_12211_tiny_224": Claim(params=23.0, top1=82.8, source="README"),
    "CSWin_64_24322_small_224": Claim(top1=83.6, source="README"),
    "CSWin_96_24322_base_224": Claim(top1=84.2, source="README"),
    "CSWin_144_24322_large_224": Claim(macs=31.5, top1=86.5, source="README, from ImageNet-22k"),
    "CSWin_96_24322_base_384": Claim(macs=47.0, top1=85.5, source="README"),
    "CSWin_144_24322_large_384": Claim(top1=87.5, source="README, from ImageNet-22k"),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    Format(
        "authors",
        Rule("stage1_conv_embed.0.*", "stages.0.embed.proj.*"),
        Rule("stage1_conv_embed.2.*", "stages.0.embed.norm.*"),
        Rule("merge#.conv.*", "stages.#.embed.proj.*"),
        Rule("merge#.norm.*", "stages.#.embed.norm.*"),
        *within(
            "stage{#+1}.#",
            "stages.#.blocks.#",
            *modules({"qkv": "attn.qkv", "attns.#.get_v": "attn.branches.#.lepe"}),
            *modules({"proj": "attn.proj", "norm1": "norm1", "norm2": "norm2", "mlp": "mlp"}),
        ),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


def padded(
    x: Shaped[Tensor, "b rows columns ..."], window: tuple[int, int]
) -> tuple[Shaped[Tensor, "b rows_ columns_ ..."], tuple[int, int]]:
    """Surround a map with zeros until a window tiles it; return the rows and columns before it."""
    down, across = (-side % step for side, step in zip(x.shape[1:3], window, strict=True))
    top, left = down // 2, across // 2
    if down or across:
        behind = (0, 0) * (x.ndim - 3)
        x = F.pad(x, (*behind, left, across - left, top, down - top))
    return x, (top, left)


def from_windows(
    x: Float[Tensor, "b windows cells c"], window: tuple[int, int], grid: Grid
) -> Float[Tensor, "b rows columns c"]:
    """Put a map of these sides together from its windows, row by row."""
    high, wide = window
    x = x.unflatten(2, (high, wide)).unflatten(1, (grid[0] // high, grid[1] // wide))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class StripeAttention(Mixer):
    """Attention within each stripe of a map, for one group of heads: a share of them."""

    def __init__(self, dim: int, num_heads: int, share: float) -> None:
        super().__init__()
        self.num_heads, self.share = num_heads, share
        self.attend = Attend()
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(
        self, qkv: Float[Tensor, "b rows columns 3 d"], stripe: tuple[int, int]
    ) -> Float[Tensor, "b rows columns d"]:
        """Mix the cells of each stripe, and add what their places say.

        Args:
            qkv: queries, keys and values of every cell.
            stripe: rows, columns; where they do not tile the map it is surrounded with zeros,
                which take part as keys.
        """
        rows, columns = qkv.shape[1:3]
        qkv, (top, left) = padded(qkv, stripe)
        grid, (high, wide) = (qkv.shape[1], qkv.shape[2]), stripe
        cells = qkv.unflatten(4, (self.num_heads, -1)).unflatten(2, (-1, wide))
        cells = cells.unflatten(1, (-1, high))  # b down high across wide 3 heads c
        folded = cells.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 4)
        q, k, v = folded.unbind()  # b (stripes heads) cells c
        x = self.attend(q, k, v).unflatten(1, (-1, self.num_heads))
        x = x.transpose(2, 3).flatten(3)  # b stripes cells d
        x = from_windows(x + self.positions(cells[:, :, :, :, :, 2]), stripe, grid)
        return x[:, top : top + rows, left : left + columns]

    def layout(self, qkv: Tensor, stripe: tuple[int, int]) -> Layout:
        """Return where the cells of each stripe lie, padding among them."""
        grid = (qkv.shape[1], qkv.shape[2])
        numbers, _ = padded(1 + torch.arange(prod(grid)).view(1, *grid, 1, 1), stripe)
        cells = to_windows(numbers[..., 0], stripe)[0, :, :, 0] - 1
        return parted(cells, grid)._replace(share=self.share)

    def positions(
        self, v: Float[Tensor, "b down high across wide h c"]
    ) -> Float[Tensor, "b stripes cells d"]:
        """Return the locally-enhanced positional encoding (LePE) of the values.

        A depthwise convolution sees the stripe by itself, with zeros around it.
        """
        stripes = v.transpose(2, 3).flatten(5).flatten(0, 2).permute(0, 3, 1, 2)
        encoded = self.lepe(stripes).permute(0, 2, 3, 1)
        return encoded.flatten(1, 2).unflatten(0, (len(v), -1))


class CrossShapedAttention(nn.Module):
    """Attention in upright stripes for half of the heads, in lying ones for the others."""

    def __init__(
        self, dim: int, num_heads: int, stripe: int | None, *, qkv_bias: bool, drop: float
    ) -> None:
        super().__init__()
        self.stripe = stripe
        groups = 1 if stripe is None else 2
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.branches = nn.ModuleList(
            StripeAttention(dim // groups, num_heads // groups, 1 / groups) for _ in range(groups)
        )
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens with those of their stripes."""
        rows, columns = grid
        wide = self.stripe
        stripes = [(rows, columns)] if wide is None else [(rows, wide), (wide, columns)]
        parts = self.qkv(x).unflatten(2, (3, -1)).unflatten(1, grid).chunk(len(stripes), -1)
        mixed = [
            branch(part, stripe)
            for branch, part, stripe in zip(self.branches, parts, stripes, strict=True)
        ]
        x = mixed[0] if wide is None else torch.cat(mixed, dim=-1)
        return self.drop(self.proj(x.flatten(1, 2)))


def stage(config: CSWinConfig, number: int, rates: Iterable[float]) -> Stage:
    """Make the blocks at one resolution, and the embedding that leads to it."""
    c, dim = config, config.embed_dim * 2**number
    heads, stripe = c.num_heads[number], c.stripes[number]
    embed = ConvEmbed(dim // 2, dim, 3, 2, 1) if number else ConvEmbed(c.in_chans, dim, 7, 4, 2)
    blocks = (
        Block(
            dim,
            CrossShapedAttention(dim, heads, stripe, qkv_bias=c.qkv_bias, drop=c.drop_rate),
            Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate),
            drop_path=rate,
            eps=EPS,
        )
        for rate in rates
    )
    return Stage(embed, blocks)


class CSWin(Backbone):
    """Stages of blocks with cross-shaped windows, each at half the resolution before it."""

    def __init__(self, config: CSWinConfig) -> None:
        super().__init__()
        c = self.config = config
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))
        self.stages = nn.ModuleList(
            stage(c, i, islice(rates, depth)) for i, depth in enumerate(c.depth)
        )
        numbers = range(len(c.depth))
        self.levels = stage_levels([c.embed_dim * 2**i for i in numbers], [4 << i for i in numbers])
        self.width = self.levels[-1].channels
        self.norm = nn.LayerNorm(self.width, EPS)
        self.head_std = 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        admit(images, self.config.in_chans)
        trace = Trace(self, taps)
        x, grid = trace.stages(self.stages, images)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding and then its blocks, and the last norm."""
        return [*in_depth(self.stages), self.norm]
