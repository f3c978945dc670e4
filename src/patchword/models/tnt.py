"""TNT: Transformer in Transformer, one over the words of each patch inside one over the patches.

Paper      Han et al., "Transformer in Transformer", NeurIPS 2021, arXiv:2103.00112
Reference  github.com/huawei-noah/Efficient-AI-Backbones, tnt_pytorch/tnt.py; timm's tnt.py, also
           for the first version of that code (`legacy`)
Departures other image sizes by bicubic positions, where both refuse them; stochastic depth drops
           an inner branch for whole images, theirs for single patches
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt, prod

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
    Layout,
    LearnedPosition,
    Mlp,
    admit,
    parted,
    ramp,
    strided,
    to_windows,
    truncated,
)
from patchword.weights import Format, Rule, View, modules, within

EPS = 1e-5  # of every layer norm


@dataclass(frozen=True, kw_only=True)
class TNTConfig:
    """Table 1 of the paper."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    inner_stride: int = 4  # pixels from word to word of a patch
    in_chans: int = 3
    embed_dim: int = 384  # channels of a patch
    inner_dim: int = 24  # channels of a word
    depth: int = 12
    num_heads: int = 6
    inner_num_heads: int = 4
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    squeeze: bool = False  # scale the channels of the outer MLP by what all tokens say
    legacy: bool = False  # words see over their patch's edge; one norm per word before joining
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "TNT":
        """Make the backbone, with fresh weights."""
        return TNT(self)

    @property
    def words(self) -> int:
        """How many words a patch has along each axis."""
        return -(-self.patch_size // self.inner_stride)


SMALL = TNTConfig()

VARIANTS = {
    "tnt_ti_patch16_224": TNTConfig(embed_dim=192, inner_dim=12, num_heads=3, inner_num_heads=2),
    "tnt_s_patch16_224": SMALL,
    "tnt_b_patch16_224": TNTConfig(embed_dim=640, inner_dim=40, num_heads=10),
    "tnt_s_legacy_patch16_224": replace(SMALL, legacy=True),
}

CLAIMS = {
    "tnt_s_patch16_224": Claim(params=23.77, macs=5.22, top1=81.5),
    "tnt_b_patch16_224": Claim(params=65.43, macs=14.05, top1=82.9),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

PIXELS = View(  # their map of positions in a patch is our row of them
    lambda table: table.flatten(2).mT,
    lambda words: words.mT.unflatten(2, (isqrt(words.shape[1]), -1)),
)


def joint(theirs: str, ours: str) -> Rule:
    """Return the rule about queries, keys and values, where theirs keep the first two together."""
    return Rule((f"{theirs}.qk.*", f"{theirs}.v.*"), f"{ours}.qkv.*", shares=(2, 1))


FORMATS = (
    Format(
        "timm",
        Rule("cls_token", "stem.class_token.token"),
        Rule("patch_pos", "stem.position.table"),
        Rule("pixel_pos", "stem.word_position", PIXELS),
        Rule("pixel_embed.proj.*", "stem.conv.*"),
        *within(
            "blocks.#",
            "blocks.#",
            joint("attn_in", "inner.attn"),
            joint("attn_out", "outer.attn"),
            *modules({"norm_in": "inner.norm1", "attn_in.proj": "inner.attn.proj"}),
            *modules({"norm_mlp_in": "inner.norm2", "mlp_in": "inner.mlp"}),
            *modules({"norm#_proj": "join.norm#", "proj": "join.proj"}),
            *modules({"norm_out": "outer.norm1", "attn_out.proj": "outer.attn.proj"}),
            *modules({"norm_mlp": "outer.norm2", "mlp": "outer.mlp"}),
        ),
        *modules({"norm#_proj": "stem.join.norm#"}),
        Rule("proj.*", "stem.join.proj.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
    Format(
        "authors",
        Rule("cls_token", "stem.class_token.token"),
        Rule("outer_pos", "stem.position.table"),
        Rule("inner_pos", "stem.word_position"),
        Rule("patch_embed.proj.*", "stem.conv.*"),
        *within(
            "blocks.#",
            "blocks.#",
            joint("inner_attn", "inner.attn"),
            joint("outer_attn", "outer.attn"),
            *modules({"inner_norm#": "inner.norm#", "outer_norm#": "outer.norm#"}),
            *modules({"inner_mlp": "inner.mlp", "outer_mlp": "outer.mlp"}),
            *modules({f"{part}_attn.proj": f"{part}.attn.proj" for part in ("inner", "outer")}),
            *modules({"proj_norm#": "join.norm#", "proj": "join.proj"}),
            Rule("se_layer.fc.*", "outer.mlp.squeeze.*"),
        ),
        *modules({"proj_norm#": "stem.join.norm#", "proj": "stem.join.proj", "norm": "norm"}),
        head=(Rule("head.*", "head.label.*"),),
        ignore=("outer_tokens",),
        derived=lambda config: {  # a parameter that their network never reads
            "outer_tokens": torch.zeros(
                1, prod(side // config.patch_size for side in config.image_size), config.embed_dim
            )
        },
    ),
)


class Join(nn.Module):
    """The words of each patch, side by side, as one vector of the patch's width."""

    def __init__(self, words: int, inner_dim: int, dim: int, *, bias: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(words * inner_dim, EPS)
        self.proj = nn.Linear(words * inner_dim, dim, bias=bias)
        self.norm2 = nn.LayerNorm(dim, EPS)

    def forward(self, words: Float[Tensor, "b w c"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Join the words of a grid's n patches."""
        joined = words.unflatten(1, (prod(grid), -1)).flatten(2)
        return self.norm2(self.proj(self.norm1(joined)))


class LegacyJoin(nn.Module):
    """The same, where each word is normed by itself and the vector is not."""

    def __init__(self, words: int, inner_dim: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inner_dim, EPS)
        self.proj = nn.Linear(words * inner_dim, dim)

    def forward(self, words: Float[Tensor, "b w c"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Join the words of a grid's n patches."""
        return self.proj(self.norm1(words).unflatten(1, (prod(grid), -1)).flatten(2))


class InnerAttention(Attention):
    """Attention of the words of each patch to one another."""

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b n d"]:
        """Mix the words of a grid's patches."""
        patches = x.unflatten(1, (prod(grid), -1)).flatten(0, 1)
        return super().forward(patches, grid, queries).unflatten(0, (len(x), -1)).flatten(1, 2)

    def layout(self, x: Tensor, grid: Grid, queries: int | None = None, *_: object) -> Layout:
        """Return where words lie, patch by patch, on the grid of all words."""
        side = isqrt(x.shape[1] // prod(grid))
        words = (grid[0] * side, grid[1] * side)
        cells = torch.arange(prod(words)).view(1, *words, 1)
        return parted(to_windows(cells, (side, side))[0, :, :, 0], words)._replace(in_batch=True)


class SqueezedMlp(Mlp):
    """An MLP whose output channels are scaled by its mean over all tokens (SE)."""

    def __init__(self, dim: int, hidden: int, *, drop: float = 0.0) -> None:
        super().__init__(dim, hidden, drop=drop)
        self.squeeze = nn.Sequential(
            nn.LayerNorm(dim, EPS),
            nn.Linear(dim, dim // 4),
            nn.ReLU(),
            nn.Linear(dim // 4, dim),
            nn.Tanh(),
        )

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Transform each token by itself, then scale all alike."""
        x = super().forward(x)
        return x + x * self.squeeze(x.mean(dim=1, keepdim=True))


class TNTBlock(nn.Module):
    """A block over the words of each patch, whose result joins the block over the patches."""

    def __init__(self, config: TNTConfig, drop_path: float) -> None:
        super().__init__()
        c = config

        def block(dim: int, heads: int, attn: type[Attention], mlp: type[Mlp]) -> Block:
            return Block(
                dim,
                attn(dim, heads, qkv_bias=c.qkv_bias, drop=c.drop_rate),
                mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate),
                drop_path=drop_path,
                eps=EPS,
            )

        self.inner = block(c.inner_dim, c.inner_num_heads, InnerAttention, Mlp)
        self.join = (LegacyJoin if c.legacy else Join)(c.words**2, c.inner_dim, c.embed_dim)
        mlp = SqueezedMlp if c.squeeze else Mlp
        self.outer = block(c.embed_dim, c.num_heads, Attention, mlp)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        words: Float[Tensor, "b w c"],
        grid: Grid,
        queries: int | None = None,
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b w c"]]:
        """Return tokens and words (section 2.2).

        Args:
            x: the class token, and the patches.
            words: of the patches, patch by patch.
            grid: of the patches.
            queries: go on with the first k tokens alone; with all n where it is None.
        """
        words = self.inner(words, grid)
        x = torch.cat([x[:, :1], x[:, 1:] + self.join(words, grid)], dim=1)
        return self.outer(x, grid, queries), words


class Stem(nn.Module):
    """Patches cut into words, and joined again for the outer transformer."""

    def __init__(self, config: TNTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.conv = nn.Conv2d(c.in_chans, c.inner_dim, 7, c.inner_stride, padding=3)
        self.word_position = nn.Parameter(torch.empty(1, c.words**2, c.inner_dim))
        self.join = Join(c.words**2, c.inner_dim, c.embed_dim, bias=True)
        self.class_token = ClassToken(c.embed_dim)
        grid = tuple(side // c.patch_size for side in c.image_size)
        self.position = LearnedPosition(grid, c.embed_dim, prefix=1, mode="bicubic_antialias")
        self.drop = nn.Dropout(c.drop_rate)
        nn.init.trunc_normal_(self.word_position, std=0.02)

    def forward(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m e"], Grid]:
        """Return the class token and patches, the patches' words, and the patches' grid."""
        c = self.config
        admit(images, c.in_chans)
        fault, grid = strided(tuple(images.shape[2:]), (c.patch_size, c.patch_size))
        if fault:
            raise ShapeError(fault)
        if c.legacy:
            words = cut(self.conv(images), c.words).flatten(2)
        else:
            words = self.conv(cut(images, c.patch_size)).flatten(2)
        words = (words.mT + self.word_position).unflatten(0, (len(images), -1)).flatten(1, 2)
        x = self.class_token(self.join(words, grid))
        return self.drop(x + self.position(grid)), words, grid


def cut(x: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "n c side side"]:
    """Cut a map into squares, image by image and row by row."""
    x = x.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # b c rows side columns side
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


class TNT(Backbone):
    """A transformer over patches with a small one inside each patch, block by block."""

    class_tokens = 1

    def __init__(self, config: TNTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = Stem(c)
        self.blocks = nn.ModuleList(TNTBlock(c, rate) for rate in ramp(c.drop_path_rate, c.depth))
        self.norm = nn.LayerNorm(c.embed_dim, EPS)
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size, c.patch_size), 1)
        self.multiple = c.patch_size
        self.width = c.embed_dim
        self.apply(truncated)
        self.head_std = 0.02

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, words, grid = self.stem(images)
        all_tokens = bool(taps) or self.config.squeeze
        for i, block in enumerate(self.blocks):
            last = i + 1 == len(self.blocks)
            x, words = block(x, words, grid, 1 if last and not all_tokens else None)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm."""
        return [self.stem, *self.blocks, self.norm]
