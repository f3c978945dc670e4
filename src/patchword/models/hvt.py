"""HVT: a plain ViT whose sequence of tokens is max-pooled to half its length, stage by stage.

Paper      Pan et al., "Scalable Vision Transformers with Hierarchical Pooling", ICCV 2021,
           arXiv:2103.10619
Reference  github.com/MonashAI/HVT, models.py
Departures none; the pooling is along the sequence, over the ends of rows, as in the authors' code
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ConfigError
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attention,
    Block,
    Grid,
    LearnedPosition,
    Mlp,
    PatchEmbed,
    PatchStem,
    admit,
    ramp,
    truncated,
)
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class HVTConfig:
    """The sizes of the network, and where its tokens are pooled."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3
    embed_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    pool_every: int = 12  # blocks; the first one pools, then every so many; 0: none does
    pool_size: int = 3  # tokens that are pooled to one; the next begin 2 tokens on
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "HVT":
        """Make the backbone, with fresh weights."""
        return HVT(self)


SMALL = HVTConfig()

VARIANTS = {
    "hvt_ti_1": HVTConfig(embed_dim=192, num_heads=3),
    "hvt_s_0": replace(SMALL, pool_every=0),
    "hvt_s_1": SMALL,
    "hvt_s_2": replace(SMALL, pool_every=6),
    "hvt_s_3": replace(SMALL, pool_every=4),
    "hvt_s_4": replace(SMALL, pool_every=3),
    "scale_hvt_ti_4": replace(SMALL, pool_every=3),  # HVT-Ti-4 made wider is HVT-S-4
}

CLAIMS = {
    "hvt_ti_1": Claim(params=5.74, macs=0.64, top1=69.64, source="README"),
    "hvt_s_0": Claim(params=22.05, macs=4.57, top1=80.39, source="README"),
    "hvt_s_1": Claim(params=22.09, macs=2.40, top1=78.00, source="README"),
    "hvt_s_2": Claim(params=22.11, macs=1.94, top1=77.36, source="README"),
    "hvt_s_3": Claim(params=22.11, macs=1.62, top1=76.32, source="README"),
    "hvt_s_4": Claim(params=22.12, macs=1.39, top1=75.23, source="README"),
    "scale_hvt_ti_4": Claim(params=22.12, macs=1.39, top1=75.23, source="README"),
}

# DeiT's, whose code theirs is made from; so framed, PaddleViT's port comes within 0.2 of CLAIMS
PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FORMATS = (
    Format(
        "authors",
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.pos_embed", "blocks.#.pool.position.table"),
        Rule("blocks.#.*", "blocks.#.block.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class Pool(nn.Module):
    """Max-pooling along the sequence, and positions for what is left of it (section 3.2)."""

    def __init__(self, length: int, size: int, dim: int) -> None:
        super().__init__()
        self.size, self.grid = size, (1, (length - size) // 2 + 1)
        if length < size:
            raise ConfigError(
                f"{length} tokens are too few to pool {size} of them: pool less often"
            )
        self.position = LearnedPosition(self.grid, dim, prefix=0, mode="linear")

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b m d"]:
        """Keep the largest number of each channel, of every few tokens."""
        row = x.mT[:, :, None]  # a map of one row, channels last as it lies in memory
        pooled = F.max_pool2d(row, (1, self.size), (1, 2))[:, :, 0].mT
        return pooled + self.position(self.grid)


class HVTBlock(nn.Module):
    """A transformer block, and pooling after it where a stage begins."""

    def __init__(self, config: HVTConfig, drop_path: float, pool: Pool | None) -> None:
        super().__init__()
        c = config
        self.block = Block(
            c.embed_dim,
            Attention(c.embed_dim, c.num_heads, qkv_bias=c.qkv_bias, drop=c.drop_rate),
            Mlp(c.embed_dim, int(c.embed_dim * c.mlp_ratio), drop=c.drop_rate),
            drop_path=drop_path,
        )
        self.pool = pool

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m d"], Grid]:
        """Return the tokens that leave, and the grid that they lie on: a line, once pooled."""
        x = self.block(x, grid)
        if self.pool is None:
            return x, grid
        x = self.pool(x)
        return x, (x.shape[1],)


class HVT(Backbone):
    """A transformer over ever fewer tokens, read by their mean."""

    def __init__(self, config: HVTConfig) -> None:
        super().__init__()
        c = self.config = config
        grid = tuple(side // c.patch_size for side in c.image_size)
        position = LearnedPosition(grid, c.embed_dim, prefix=0, mode="bicubic")
        patches = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, position, drop=c.drop_rate)
        self.blocks = nn.ModuleList()
        length = prod(grid)
        for i, rate in enumerate(ramp(c.drop_path_rate, c.depth)):
            pool = None
            if c.pool_every and i % c.pool_every == 0:
                pool = Pool(length, c.pool_size, c.embed_dim)
                length = pool.grid[1]
            self.blocks.append(HVTBlock(c, rate, pool))
        self.norm = nn.LayerNorm(c.embed_dim, eps=1e-6)
        stride = None if c.pool_every else (c.patch_size, c.patch_size)
        self.levels = block_levels(c.depth, c.embed_dim, stride)
        self.width = c.embed_dim
        self.apply(truncated)
        self.head_std = 0.02

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        admit(images, self.config.in_chans, self.config.image_size)
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            x, grid = block(x, grid)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm."""
        return [self.stem, *self.blocks, self.norm]
