"""Pale Transformer: a pyramid that attends along interlaced rows, and along interlaced columns.

Paper      Wu et al., "Pale Transformer: A General Vision Transformer Backbone with Pale-Shaped
           Attention", AAAI 2022, arXiv:2112.14000
Reference  none by the authors; written from the paper, and no weights exist. The sizes are those
           that give the paper's numbers of parameters
Departures none known. The paper's separable projections follow CvT, so theirs here have its batch
           norm too. Where the paper says nothing: both halves of the channels have all heads;
           norms follow each patch merging and the last block; a map whose rows make no even
           groups is padded with zeros behind, which take part as keys
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

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
    Normed,
    Stage,
    admit,
    in_depth,
    parted,
    ramp,
    to_map,
    to_tokens,
    truncated,
)
from patchword.weights import Format

EPS = 1e-5  # of every layer norm


@dataclass(frozen=True, kw_only=True)
class PaleConfig:
    """The sizes of a network; tuples have an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns
    in_chans: int = 3  # channels of an image
    embed_dim: int = 64  # channels of a token in the first stage; they double in each later one
    depth: tuple[int, ...] = (2, 2, 16, 2)  # blocks
    num_heads: tuple[int, ...] = (2, 4, 8, 16)  # for rows, and as many for columns
    pale_size: int = 7  # rows of a pale, and its columns
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    qkv_bias: bool = True
    drop_rate: float = 0.0  # dropout: after each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "Pale":
        """Make the backbone, with fresh weights."""
        return Pale(self)


VARIANTS = {
    "pale_tiny_224": PaleConfig(),
    "pale_small_224": PaleConfig(embed_dim=96, num_heads=(3, 6, 12, 24)),
    "pale_base_224": PaleConfig(embed_dim=128, num_heads=(4, 8, 16, 32)),
}

CLAIMS: dict[str, Claim] = {
    "pale_tiny_224": Claim(params=22.0, top1=83.4),
    "pale_small_224": Claim(params=48.0, top1=84.3),
    "pale_base_224": Claim(params=85.0, top1=84.9),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS: tuple[Format, ...] = ()


class SeparableConv(nn.Module):
    """A linear layer that sees a token's neighbours: a depthwise convolution before it (CvT)."""

    def __init__(self, dim: int, *, bias: bool) -> None:
        super().__init__()
        self.depthwise = Normed(nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False))
        self.pointwise = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Float[Tensor, "b d rows columns"]) -> Float[Tensor, "b rows columns d"]:
        """Project every cell."""
        return self.pointwise(self.depthwise(x).permute(0, 2, 3, 1))


class InterlacedAttention(Mixer):
    """Attention within groups of rows that lie as far apart as there are groups.

    Args:
        num_heads: half of the layer's.
        size: rows of a group, at most.
        across: the rows that come are columns of the map.
    """

    def __init__(self, num_heads: int, size: int, *, across: bool = False) -> None:
        super().__init__()
        self.num_heads, self.size, self.across = num_heads, size, across
        self.attend = Attend()

    def forward(
        self,
        q: Float[Tensor, "b rows columns d"],
        k: Float[Tensor, "b rows columns d"],
        v: Float[Tensor, "b rows columns d"],
    ) -> Float[Tensor, "b rows columns d"]:
        """Mix each cell with all cells of its group's rows, at most `size` of them."""
        rows, columns = q.shape[1:3]
        groups = -(-rows // self.size)
        x = self.attend(*(self.folded(t, groups) for t in (q, k, v)))
        x = x.unflatten(2, (-1, columns)).unflatten(1, (groups, -1))  # b groups h high columns c
        return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(1, 2)[:, :rows]

    def layout(self, q: Tensor, k: Tensor, v: Tensor) -> Layout:
        """Return where the cells of each group of rows lie, padding among them."""
        rows, columns = q.shape[1:3]
        grid = (columns, rows) if self.across else (rows, columns)
        numbers = 1 + torch.arange(rows * columns).view(grid)
        numbers = (numbers.T if self.across else numbers)[None, :, :, None]
        folded = self.folded(numbers.expand(-1, -1, -1, self.num_heads), -(-rows // self.size))
        return parted(folded[0, :: self.num_heads, :, 0] - 1, grid)._replace(share=0.5)

    def folded(
        self, x: Shaped[Tensor, "b rows columns d"], groups: int
    ) -> Shaped[Tensor, "b groups_heads cells c"]:
        """Deal the rows out to the groups, one after the other, and fold groups into heads."""
        lacking = -x.shape[1] % groups
        if lacking:
            x = F.pad(x, (0, 0, 0, 0, 0, lacking))
        x = x.unflatten(3, (self.num_heads, -1)).unflatten(1, (-1, groups))
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(1, 2)


class PaleAttention(nn.Module):
    """Attention in the shape of a pale: rows for half of the channels, columns for the rest."""

    def __init__(self, dim: int, num_heads: int, size: int, *, qkv_bias: bool, drop: float) -> None:
        super().__init__()
        self.q, self.k, self.v = (SeparableConv(dim, bias=qkv_bias) for _ in range(3))
        self.rows = InterlacedAttention(num_heads, size)
        self.columns = InterlacedAttention(num_heads, size, across=True)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens with those of their rows' group, and those of their columns' group."""
        cells = to_map(x, grid)
        halves = [project(cells).chunk(2, dim=-1) for project in (self.q, self.k, self.v)]
        along_rows = self.rows(*(row for row, _ in halves))
        along_columns = self.columns(*(column.transpose(1, 2) for _, column in halves))
        x = torch.cat([along_rows, along_columns.transpose(1, 2)], dim=-1)
        return self.drop(self.proj(x.flatten(1, 2)))


class PaleBlock(nn.Module):
    """Positions from each token's neighbours (CPE), then a block with pale-shaped attention."""

    def __init__(self, config: PaleConfig, stage: int, rate: float) -> None:
        super().__init__()
        c, dim = config, config.embed_dim * 2**stage
        self.cpe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        attn = PaleAttention(
            dim, c.num_heads[stage], c.pale_size, qkv_bias=c.qkv_bias, drop=c.drop_rate
        )
        mlp = Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate)
        self.block = Block(dim, attn, mlp, drop_path=rate, eps=EPS)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix between tokens, then transform each."""
        return self.block(x + to_tokens(self.cpe(to_map(x, grid))), grid)


def stage(config: PaleConfig, number: int, rates: Iterable[float]) -> Stage:
    """Make the blocks at one resolution, and the patch merging that leads to it."""
    c, dim = config, config.embed_dim * 2**number
    merge = ConvEmbed(dim // 2, dim, 3, 2, 1) if number else ConvEmbed(c.in_chans, dim, 7, 4, 3)
    return Stage(merge, (PaleBlock(c, number, rate) for rate in rates))


class Pale(Backbone):
    """Stages of blocks with pale-shaped attention, each at half the resolution before it."""

    def __init__(self, config: PaleConfig) -> None:
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
        """Return each stage's patch merging and then its blocks, and the last norm."""
        return [*in_depth(self.stages), self.norm]
