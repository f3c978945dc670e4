"""XCiT: attention between channels, whose cost is linear in the number of patches.

Paper      El-Nouby et al., "XCiT: Cross-Covariance Image Transformers", NeurIPS 2021,
           arXiv:2106.09681
Reference  github.com/facebookresearch/xcit, xcit.py; timm's xcit.py
Departures the last class block answers for the class token alone, unless levels are asked for
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from math import pi
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Attention,
    Block,
    Branching,
    ClassToken,
    Grid,
    LayerScale,
    Mlp,
    Normed,
    PatchStem,
    Position,
    StochasticDepth,
    admit,
    merge_heads,
    split_heads,
    to_map,
    to_tokens,
    truncated,
)
from patchword.weights import Format, Rule, Rules, modules, normed


@dataclass(frozen=True, kw_only=True)
class XCiTConfig:
    """The sizes of XCiT-S12/16 (table 1), and what else the authors vary."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; others are read as they are
    patch_size: Literal[8, 16] = 16  # pixels; a convolution halves them, 3 or 4 times
    in_chans: int = 3  # channels of an image
    embed_dim: int = 384  # channels of a token
    depth: int = 12  # blocks of patches alone
    class_depth: int = 2  # blocks of class attention after them
    num_heads: int = 8
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    layer_scale: float = 1.0  # start of LayerScale's factors
    norm_cells: bool = True  # a class block's second norm is of the patches too
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth, the same in every block of patches

    def build(self) -> "XCiT":
        """Make the backbone, with fresh weights."""
        return XCiT(self)


def sized(config: XCiTConfig, patch_size: Literal[8, 16], side: int) -> XCiTConfig:
    """Return the same network on other patches, and for square images of a side, in pixels."""
    return replace(config, patch_size=patch_size, image_size=(side, side))


N12 = XCiTConfig(embed_dim=128, num_heads=4, norm_cells=False)
T12 = XCiTConfig(embed_dim=192, num_heads=4)
T24 = replace(T12, depth=24, layer_scale=1e-5)
S12 = XCiTConfig()
S24 = replace(S12, depth=24, layer_scale=1e-5)
M24 = replace(S24, embed_dim=512)
L24 = replace(S24, embed_dim=768, num_heads=16)

VARIANTS = {
    "xcit_nano_12_p16_224": N12,
    "xcit_nano_12_p16_384": sized(N12, 16, 384),
    "xcit_nano_12_p8_224": sized(N12, 8, 224),
    "xcit_nano_12_p8_384": sized(N12, 8, 384),
    "xcit_tiny_12_p16_224": T12,
    "xcit_tiny_12_p16_384": sized(T12, 16, 384),
    "xcit_tiny_12_p8_224": sized(T12, 8, 224),
    "xcit_tiny_12_p8_384": sized(T12, 8, 384),
    "xcit_tiny_24_p16_224": T24,
    "xcit_tiny_24_p16_384": sized(T24, 16, 384),
    "xcit_tiny_24_p8_224": sized(T24, 8, 224),
    "xcit_tiny_24_p8_384": sized(T24, 8, 384),
    "xcit_small_12_p16_224": S12,
    "xcit_small_12_p16_384": sized(S12, 16, 384),
    "xcit_small_12_p8_224": sized(S12, 8, 224),
    "xcit_small_12_p8_384": sized(S12, 8, 384),
    "xcit_small_24_p16_224": S24,
    "xcit_small_24_p16_384": sized(S24, 16, 384),
    "xcit_small_24_p8_224": sized(S24, 8, 224),
    "xcit_small_24_p8_384": sized(S24, 8, 384),
    "xcit_medium_24_p16_224": M24,
    "xcit_medium_24_p16_384": sized(M24, 16, 384),
    "xcit_medium_24_p8_224": sized(M24, 8, 224),
    "xcit_medium_24_p8_384": sized(M24, 8, 384),
    "xcit_large_24_p16_224": L24,
    "xcit_large_24_p16_384": sized(L24, 16, 384),
    "xcit_large_24_p8_224": sized(L24, 8, 224),
    "xcit_large_24_p8_384": sized(L24, 8, 384),
}

README, DISTILLED = "README", "README, distilled"
CLAIMS = {
    "xcit_nano_12_p16_224": Claim(params=3.0, top1=69.9, source=README),
    "xcit_nano_12_p16_384": Claim(params=3.0, top1=75.4, source=DISTILLED),
    "xcit_nano_12_p8_224": Claim(params=3.0, top1=73.8, source=README),
    "xcit_nano_12_p8_384": Claim(params=3.0, top1=77.8, source=DISTILLED),
    "xcit_tiny_12_p16_224": Claim(params=7.0, top1=77.1, source=README),
    "xcit_tiny_12_p16_384": Claim(params=7.0, top1=80.9, source=DISTILLED),
    "xcit_tiny_12_p8_224": Claim(params=7.0, top1=79.7, source=README),
    "xcit_tiny_12_p8_384": Claim(params=7.0, top1=82.4, source=DISTILLED),
    "xcit_tiny_24_p16_224": Claim(params=12.0, top1=79.4, source=README),
    "xcit_tiny_24_p16_384": Claim(params=12.0, top1=82.6, source=DISTILLED),
    "xcit_tiny_24_p8_224": Claim(params=12.0, top1=81.9, source=README),
    "xcit_tiny_24_p8_384": Claim(params=12.0, top1=83.7, source=DISTILLED),
    "xcit_small_12_p16_224": Claim(params=26.0, top1=82.0, source=README),
    "xcit_small_12_p16_384": Claim(params=26.0, top1=84.7, source=DISTILLED),
    "xcit_small_12_p8_224": Claim(params=26.0, top1=83.4, source=README),
    "xcit_small_12_p8_384": Claim(params=26.0, top1=85.1, source=DISTILLED),
    "xcit_small_24_p16_224": Claim(params=48.0, top1=82.6, source=README),
    "xcit_small_24_p16_384": Claim(params=48.0, top1=85.1, source=DISTILLED),
    "xcit_small_24_p8_224": Claim(params=48.0, top1=83.9, source=README),
    "xcit_small_24_p8_384": Claim(params=48.0, top1=85.6, source=DISTILLED),
    "xcit_medium_24_p16_224": Claim(params=84.0, top1=82.7, source=README),
    "xcit_medium_24_p16_384": Claim(params=84.0, top1=85.4, source=DISTILLED),
    "xcit_medium_24_p8_224": Claim(params=84.0, top1=83.7, source=README),
    "xcit_medium_24_p8_384": Claim(params=84.0, top1=85.8, source=DISTILLED),
    "xcit_large_24_p16_224": Claim(params=189.0, top1=82.9, source=README),
    "xcit_large_24_p16_384": Claim(params=189.0, top1=85.8, source=DISTILLED),
    "xcit_large_24_p8_224": Claim(params=189.0, top1=84.4, source=README),
    "xcit_large_24_p8_384": Claim(params=189.0, top1=86.0, source=DISTILLED),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

CLASS = "cls_attn_blocks.#"
BOTH: Rules = (  # timm's and the authors'
    Rule("cls_token", "class_token.token"),
    *normed({"patch_embed.proj.#": "stem.patch_embed.convs.#"}, "0", "1"),
    *modules(
        {
            "blocks.#.local_mp.conv1": "blocks.#.local.0",
            "blocks.#.local_mp.bn": "blocks.#.local.2",
            "blocks.#.local_mp.conv2": "blocks.#.local.3",
        }
    ),
    Rule("blocks.#.gamma#", "blocks.#.ls#.gamma"),
    Rule("blocks.#.*", "blocks.#.*"),
    Rule(f"{CLASS}.gamma#", "class_blocks.#.ls#.gamma"),
    Rule(f"{CLASS}.*", "class_blocks.#.*"),
    Rule("norm.*", "norm.*"),
)
FORMATS = (
    Format(
        "timm",
        Rule("pos_embed.token_projection.*", "stem.position.proj.*"),
        Rule(tuple(f"{CLASS}.attn.{part}.*" for part in "qkv"), "class_blocks.#.attn.qkv.*"),
        *BOTH,
        head=(Rule("head.*", "head.label.*"),),
    ),
    Format(
        "authors",
        Rule("pos_embeder.token_projection.*", "stem.position.proj.*"),
        *BOTH,
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class ConvPatches(nn.Module):
    """Patches by 3x3 convolutions of stride 2, each of twice as many channels as the one before."""

    def __init__(self, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__()
        widths = [in_chans, *(dim >> i for i in reversed(range(patch_size.bit_length() - 1)))]
        self.in_chans = in_chans
        halvings = (Normed(nn.Conv2d(a, b, 3, 2, 1, bias=False)) for a, b in pairwise(widths))
        first, *others = halvings
        self.convs = nn.Sequential(first, *chain(*((nn.GELU(), conv) for conv in others)))

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on, whose last cells may be padded.

        Raises:
            ShapeError: the images have another number of channels.
        """
        admit(images, self.in_chans)
        x = self.convs(images)
        return to_tokens(x), (x.shape[2], x.shape[3])


class FourierPosition(Position):
    """Sines and cosines of where a cell ends, as a share of the image, projected (as in DETR)."""

    waves: int = 16  # frequencies along each axis

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(4 * self.waves, dim, 1)

    def forward(self, grid: Grid) -> Float[Tensor, "1 n d"]:
        """Return the vectors for a grid; sines and cosines are worked out in single precision."""
        weight = self.proj.weight
        periods = 10_000 ** (torch.arange(self.waves, device=weight.device) / self.waves)
        axes: list[Tensor] = []
        for side in grid:
            shares = torch.arange(1, side + 1, device=weight.device) / (side + 1e-6)
            angles = 2 * pi * shares / periods[:, None]
            axes.append(torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1))
        rows = axes[0][:, :, None].expand(-1, -1, grid[1])
        columns = axes[1][:, None].expand(-1, grid[0], -1)
        return to_tokens(self.proj(torch.cat([rows, columns])[None].to(weight.dtype)))


class CrossCovariance(nn.Module):
    """Attention of channels to channels, each a vector over all tokens (section 3.2)."""

    def __init__(self, dim: int, num_heads: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the channels of each head by their cosines, in single precision at least."""
        parts = self.qkv(x)
        q, k, v = (split_heads(t, self.num_heads).contiguous() for t in parts.chunk(3, -1))
        exact = torch.promote_types(q.dtype, torch.float32)
        squares = parts[..., : 2 * x.shape[-1]].to(exact).square().sum(1)  # of queries and keys
        lengths = squares.clamp_min(1e-24).sqrt()
        rows, columns = lengths.unflatten(-1, (2, self.num_heads, -1)).unbind(1)
        # lengths divide the small map of products, not the channels, which are long
        areas = rows[..., :, None] * columns[..., None, :]
        weights = (self.temperature * (q.mT @ k) / areas).softmax(-1).to(v.dtype)
        return self.drop(self.proj(merge_heads(v @ weights.mT)))


def depthwise(dim: int) -> nn.Conv2d:
    """Make a 3x3 convolution of each channel by itself."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim)


class XCiTBlock(Branching):
    """Channels, then neighbours, then each token: three residual branches (section 3.3)."""

    def __init__(self, config: XCiTConfig) -> None:
        super().__init__()
        c, dim = config, config.embed_dim
        self.attn = CrossCovariance(dim, c.num_heads, drop=c.drop_rate)
        self.local = nn.Sequential(depthwise(dim), nn.GELU(), nn.BatchNorm2d(dim), depthwise(dim))
        self.mlp = Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim, 1e-6) for _ in range(3))
        self.ls1, self.ls2, self.ls3 = (LayerScale(dim, c.layer_scale) for _ in range(3))
        paths = (StochasticDepth(c.drop_path_rate) for _ in range(3))
        self.drop_path1, self.drop_path2, self.drop_path3 = paths
        self.scales = (("ls1", "attn"), ("ls2", "mlp"), ("ls3", "local"))

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Transform the tokens; the branches are numbered as in the checkpoints, 1, 3 and 2."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        x = x + self.drop_path3(self.ls3(to_tokens(self.local(to_map(self.norm3(x), grid)))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class ClassBlock(Block):
    """Class attention (CaiT), with the residuals that the authors' code has."""

    def __init__(self, config: XCiTConfig) -> None:
        c, hidden = config, int(config.embed_dim * config.mlp_ratio)
        attn = Attention(c.embed_dim, c.num_heads, drop=c.drop_rate)
        mlp = Mlp(c.embed_dim, hidden, drop=c.drop_rate)
        super().__init__(c.embed_dim, attn, mlp, layer_scale=c.layer_scale)
        self.norm_cells = c.norm_cells
        self.scales = (("ls2", "mlp"),)  # the first scales the patches too

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Let the class token ask all; patches are changed by norms, and doubled, as in that code.

        The arguments are those of `Block`.
        """
        known = self.norm1(x)
        mixed = torch.cat([self.attn(known, grid, 1), known[:, 1:queries]], dim=1)
        x = x[:, :queries] + self.ls1(mixed)
        token, cells = self.norm2(x[:, :1]), x[:, 1:]
        cells = self.norm2(cells) if self.norm_cells else cells
        return torch.cat([token + self.ls2(self.mlp(token)), cells + cells], dim=1)


class XCiT(Backbone):
    """Blocks of patches alone, then blocks in which a class token reads them."""

    class_tokens = 1

    def __init__(self, config: XCiTConfig) -> None:
        super().__init__()
        c = self.config = config
        patches = ConvPatches(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, FourierPosition(c.embed_dim), drop=c.drop_rate)
        self.blocks = nn.ModuleList(XCiTBlock(c) for _ in range(c.depth))
        self.class_token = ClassToken(c.embed_dim)
        self.class_blocks = nn.ModuleList(ClassBlock(c) for _ in range(c.class_depth))
        self.norm = nn.LayerNorm(c.embed_dim, 1e-6)
        trunk = [f"blocks.{i}" for i in range(c.depth)]
        names = [*trunk, *(f"class_blocks.{i}" for i in range(c.class_depth)), "final"]
        stride = (c.patch_size, c.patch_size)
        self.levels = tuple(Level(n, c.embed_dim, stride, int(n not in trunk)) for n in names)
        self.width, self.head_std = c.embed_dim, 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks of patches, class blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            x = block(x, grid)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.class_token(x)
        for i, block in enumerate(self.class_blocks):
            x = block(x, grid, 1 if block is self.class_blocks[-1] and not taps else None)
            trace.tokens(f"class_blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks, the class token with its blocks, and the last norm."""
        return [self.stem, *self.blocks, self.class_token, *self.class_blocks, self.norm]
