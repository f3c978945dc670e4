"""CeiT: a ViT with a convolutional stem, a local feed-forward, and attention over its layers.

Paper      Yuan et al., "Incorporating Convolution Designs into Visual Transformers", ICCV 2021,
           arXiv:2103.11816
Reference  github.com/coeusguo/ceit, ceit_model.py
Departures the last block's feed-forward, which the class token passes by, is left out where only
           `pooled` is asked for; images whose sides are no multiple of a patch's are refused
           (the reference drops the rest)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attention,
    Block,
    ClassToken,
    Grid,
    LearnedPosition,
    Mlp,
    PatchEmbed,
    StochasticDepth,
    admit,
    ramp,
    strided,
    to_map,
    to_tokens,
    truncated,
)
from patchword.weights import Format, Rule

EPS = 1e-6  # of every layer norm
SHRINK = 4  # pixels per cell of the stem's map, along each axis


@dataclass(frozen=True, kw_only=True)
class CeiTConfig:
    """The sizes of a network, and what the paper's ablations compare."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    in_chans: int = 3  # channels of an image
    stem_dim: int = 64  # channels of the stem's map
    patch_size: int = 4  # cells of the stem's map, of 4 pixels each
    embed_dim: int = 192  # channels of a token
    depth: int = 12  # blocks, without the attention over layers
    num_heads: int = 3
    mlp_ratio: float = 4.0  # hidden channels of a feed-forward per channel of a token
    local_size: int = 3  # side of the depthwise kernels in a feed-forward
    local_norm: bool = True  # batch norm after each convolution of a feed-forward
    qkv_bias: bool = True
    drop_rate: float = 0.0  # dropout: after the positions and each projection
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "CeiT":
        """Make the backbone, with fresh weights."""
        return CeiT(self)


TINY = CeiTConfig()
SMALL = CeiTConfig(embed_dim=384, num_heads=6)
BASE = CeiTConfig(embed_dim=768, num_heads=12)

VARIANTS = {
    "ceit_tiny_patch16_224": TINY,
    "ceit_small_patch16_224": SMALL,
    "ceit_base_patch16_224": BASE,
    "ceit_tiny_patch16_384": replace(TINY, image_size=(384, 384)),
    "ceit_small_patch16_384": replace(SMALL, image_size=(384, 384)),
}

CLAIMS: dict[str, Claim] = {
    "ceit_tiny_patch16_224": Claim(params=6.4, top1=76.4),
    "ceit_small_patch16_224": Claim(params=24.2, top1=82.0),
    "ceit_base_patch16_224": Claim(top1=81.8, source="README, 100 epochs"),
    "ceit_tiny_patch16_384": Claim(params=6.4, top1=78.8),
    "ceit_small_patch16_384": Claim(params=24.2, top1=83.3),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    Format(
        "authors",
        Rule("cls_token", "stem.class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("i2t.backbone.conv.*", "stem.conv.*"),
        Rule("i2t.backbone.bn.*", "stem.norm.*"),
        Rule("i2t.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("pos_layer_embed", "lca.position"),
        Rule("lca.feedforward.*", "lca.block.mlp.*"),
        Rule("lca.*", "lca.block.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class ImageToTokens(nn.Module):
    """Patches of a small convolutional map, after a class token (section 3.2, I2T)."""

    def __init__(self, config: CeiTConfig) -> None:
        super().__init__()
        c = config
        self.conv = nn.Conv2d(c.in_chans, c.stem_dim, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(c.stem_dim)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.patch_embed = PatchEmbed(c.patch_size, c.stem_dim, c.embed_dim)
        self.stride = SHRINK * c.patch_size
        self.class_token = ClassToken(c.embed_dim)
        rows, columns = (max(side // self.stride, 1) for side in c.image_size)
        self.position = LearnedPosition((rows, columns), c.embed_dim, prefix=1, mode="bicubic")
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the class token and the patches, with their positions, and the patches' grid.

        Raises:
            ShapeError: a side is no multiple of a patch's, or the channels are others.
        """
        admit(images, self.conv.in_channels)
        fault, _ = strided(tuple(images.shape[2:]), (self.stride, self.stride))
        if fault:
            raise ShapeError(fault)
        x, grid = self.patch_embed(self.pool(self.norm(self.conv(images))))
        return self.drop(self.class_token(x) + self.position(grid)), grid


class LeFF(nn.Module):
    """An MLP on the grid, with a depthwise convolution between its layers (section 3.3)."""

    def __init__(self, dim: int, hidden: int, local_size: int, *, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden) if norm else nn.Identity()
        pad = (local_size - 1) // 2
        self.conv2 = nn.Conv2d(hidden, hidden, local_size, padding=pad, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden) if norm else nn.Identity()
        self.conv3 = nn.Conv2d(hidden, dim, 1)
        self.bn3 = nn.BatchNorm2d(dim) if norm else nn.Identity()
        self.act = nn.GELU()

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Transform the grid's tokens; the class token, which is not on it, stays as it is."""
        cells = self.act(self.bn1(self.conv1(to_map(x, grid))))
        cells = self.act(self.bn2(self.conv2(cells)))
        cells = to_tokens(self.bn3(self.conv3(cells)))
        return torch.cat([x[:, : x.shape[1] - cells.shape[1]], cells], dim=1)


class CeiTBlock(nn.Module):
    """The pre-norm block, its MLP replaced by LeFF."""

    def __init__(self, config: CeiTConfig, rate: float) -> None:
        super().__init__()
        c = config
        hidden = int(c.embed_dim * c.mlp_ratio)
        self.norm1 = nn.LayerNorm(c.embed_dim, EPS)
        self.attn = Attention(c.embed_dim, c.num_heads, qkv_bias=c.qkv_bias, drop=c.drop_rate)
        self.drop_path1 = StochasticDepth(rate)
        self.norm2 = nn.LayerNorm(c.embed_dim, EPS)
        self.leff = LeFF(c.embed_dim, hidden, c.local_size, norm=c.local_norm)
        self.drop_path2 = StochasticDepth(rate)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix between tokens, then between neighbours.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: go on with the class token alone, where it is 1; what LeFF adds to it is its
                norm. With all tokens where it is None.
        """
        x = x[:, :queries] + self.drop_path1(self.attn(self.norm1(x), grid, queries))
        normed = self.norm2(x)
        return x + self.drop_path2(self.leff(normed, grid) if queries is None else normed)


class LayerwiseClassAttention(nn.Module):
    """A block over the class tokens of all layers, asked by the last one (section 3.4, LCA)."""

    def __init__(self, config: CeiTConfig) -> None:
        super().__init__()
        c = config
        self.position = nn.Parameter(torch.zeros(1, c.depth, c.embed_dim))
        self.block = Block(
            c.embed_dim,
            Attention(c.embed_dim, c.num_heads, qkv_bias=c.qkv_bias, drop=c.drop_rate),
            Mlp(c.embed_dim, int(c.embed_dim * c.mlp_ratio), drop=c.drop_rate),
            eps=EPS,
        )

    def forward(self, tokens: Float[Tensor, "b depth d"]) -> Float[Tensor, "b 1 d"]:
        """Return the last token after it has looked at all; attention knows no order of them."""
        last_first = (tokens + self.position).flip(1)
        return self.block(last_first, tokens.shape[1:2], 1)


class CeiT(Backbone):
    """A plain transformer over patches of a convolutional map, read by attention over layers."""

    class_tokens = 1

    def __init__(self, config: CeiTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = ImageToTokens(c)
        self.blocks = nn.ModuleList(CeiTBlock(c, rate) for rate in ramp(c.drop_path_rate, c.depth))
        self.lca = LayerwiseClassAttention(c)
        self.norm = nn.LayerNorm(c.embed_dim, EPS)
        self.multiple = step = self.stem.stride
        self.levels = block_levels(c.depth, c.embed_dim, (step, step), 1)
        self.width = c.embed_dim
        self.silent = (f"blocks.{c.depth - 1}.leff.*",)
        self.head_std = 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`, the last block's after the last norm."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        class_tokens: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            last = i + 1 == len(self.blocks)
            x = block(x, grid, 1 if last and not taps else None)
            trace.tokens(f"blocks.{i}", x, grid)
            class_tokens.append(x[:, 0])
        read = self.lca(torch.stack(class_tokens, dim=1))
        normed = self.norm(torch.cat([read, x], dim=1))
        trace.tokens("final", normed[:, 1:], grid)
        return trace.features(normed[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks, the attention over them and the last norm."""
        return [self.stem, *self.blocks, self.lca, self.norm]
