"""CaiT: deep image transformers, whose class token enters after a trunk of patches alone.

Paper      Touvron et al., "Going deeper with Image Transformers", ICCV 2021, arXiv:2103.17239;
           talking heads: Shazeer et al. 2020, arXiv:2003.02436
Reference  github.com/facebookresearch/deit, cait_models.py; timm's cait.py
Departures the talking heads' bias before the softmax, which cannot change it, is kept but not
           computed; other image sizes work, by the resampling of the authors' DeiT scripts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Attention,
    Block,
    ClassToken,
    Grid,
    LearnedPosition,
    Mlp,
    Operator,
    PatchEmbed,
    PatchStem,
    TokenMixer,
    merge_heads,
    split_heads,
    truncated,
)
from patchword.layers.attention import unshifting, within
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class CaiTConfig:
    """The sizes of CaiT-S24, and what else the paper varies."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 384  # channels of a token
    depth: int = 24  # blocks of self-attention between patches
    class_depth: int = 2  # blocks of class attention after them
    num_heads: int = 8
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    layer_scale: float = 1e-5  # start of LayerScale's factors
    drop_rate: float = 0.0  # dropout of the trunk: after the positions and each projection
    drop_path_rate: float = 0.0  # stochastic depth, the same in every block of the trunk

    def build(self) -> "CaiT":
        """Make the backbone, with fresh weights."""
        return CaiT(self)


def sized(config: CaiTConfig, side: int) -> CaiTConfig:
    """Return the same network for square images of another side, in pixels."""
    return replace(config, image_size=(side, side))


XXS24 = CaiTConfig(embed_dim=192, num_heads=4)
XXS36 = replace(XXS24, depth=36)
XS24 = CaiTConfig(embed_dim=288, num_heads=6)
S24 = CaiTConfig()
S36 = CaiTConfig(depth=36, layer_scale=1e-6)
M36 = CaiTConfig(embed_dim=768, depth=36, num_heads=16, layer_scale=1e-6)
M48 = replace(M36, depth=48)

VARIANTS = {
    "cait_xxs24_224": XXS24,
    "cait_xxs24_384": sized(XXS24, 384),
    "cait_xxs36_224": XXS36,
    "cait_xxs36_384": sized(XXS36, 384),
    "cait_xs24_384": sized(XS24, 384),
    "cait_s24_224": S24,
    "cait_s24_384": sized(S24, 384),
    "cait_s36_384": sized(S36, 384),
    "cait_m36_384": sized(M36, 384),
    "cait_m48_448": sized(M48, 448),
    "cait_mini_patch4_32": CaiTConfig(
        image_size=(32, 32),
        patch_size=4,
        embed_dim=128,
        depth=3,
        class_depth=1,
        num_heads=4,
        layer_scale=0.1,
    ),  # ours, for small pictures
}

README = "README_cait.md, distilled"
CLAIMS = {
    "cait_xs24_384": Claim(params=27.0, macs=19.3, top1=84.1, source=README),
    "cait_s24_224": Claim(params=47.0, macs=9.4, top1=83.5, source=README),
    "cait_s24_384": Claim(params=47.0, macs=32.2, top1=85.1, source=README),
    "cait_s36_384": Claim(params=68.0, macs=48.0, top1=85.4, source=README),
    "cait_m36_384": Claim(params=271.0, macs=173.3, top1=86.1, source=README),
    "cait_m48_448": Claim(params=356.0, macs=329.6, top1=86.5, source=README),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

CLASS = "blocks_token_only.#"
FORMATS = (
    Format(
        "timm",  # and the authors'
        Rule("cls_token", "class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.gamma_1", "blocks.#.ls1.gamma"),
        Rule("blocks.#.gamma_2", "blocks.#.ls2.gamma"),
        Rule("blocks.#.attn.proj_l.*", "blocks.#.attn.attend.proj_l.*"),
        Rule("blocks.#.attn.proj_w.*", "blocks.#.attn.attend.proj_w.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule(f"{CLASS}.gamma_1", "class_blocks.#.ls1.gamma"),
        Rule(f"{CLASS}.gamma_2", "class_blocks.#.ls2.gamma"),
        Rule(tuple(f"{CLASS}.attn.{part}.*" for part in "qkv"), "class_blocks.#.attn.qkv.*"),
        Rule(f"{CLASS}.*", "class_blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


def mix_heads(
    maps: Float[Tensor, "b h n m"], mix: Float[Tensor, "heads h"]
) -> Float[Tensor, "b heads n m"]:
    """Make each new map of the old ones, weighted by a row of `mix`, as they lie in memory.

    Talking heads do it to scores and to their softmax.
    """
    mixed = torch.bmm(mix.expand(len(maps), -1, -1), maps.flatten(2))
    return mixed.unflatten(2, maps.shape[2:])


def softmax(scores: Float[Tensor, "... m"]) -> Float[Tensor, "... m"]:
    """Return the softmax of the last axis, with the pass for the largest score where it must be."""
    if unshifting(scores):
        shares = scores.exp()
        total = shares.sum(-1, keepdim=True)
        if within(total):
            return shares.div_(total)
    return scores.softmax(-1)


class TalkingHeads(Operator):
    """Attention whose heads exchange their scores before the softmax, and its outcome after it.

    Both exchanges are matrix products over the heads as they lie. A bias before the softmax would
    move whole rows of scores, which changes nothing; the one after it adds the same share of all
    values to each output.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.proj_l = nn.Linear(num_heads, num_heads)  # of the logits
        self.proj_w = nn.Linear(num_heads, num_heads)  # of the weights

    def forward(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], v: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b h n e"]:
        """Attend from n queries to m keys."""
        everywhere = self.proj_w.bias[:, None, None] * v.sum(dim=2, keepdim=True)
        return self._mixed(q, k) @ v + everywhere

    def weights(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], v: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b h n m"]:
        """Work out what the values are mixed with; rows need not sum to 1."""
        return self._mixed(q, k) + self.proj_w.bias[:, None, None]

    def _mixed(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"]
    ) -> Float[Tensor, "b h n m"]:
        scores = q * q.shape[-1] ** -0.5 @ k.mT
        return mix_heads(softmax(mix_heads(scores, self.proj_l.weight)), self.proj_w.weight)


class TalkingHeadsAttention(TokenMixer):
    """Self-attention between patches, with talking heads."""

    def __init__(self, dim: int, num_heads: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attend = TalkingHeads(num_heads)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens; where they lie on the grid plays no part."""
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x).chunk(3, -1))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v))))


class CaiT(Backbone):
    """A trunk in which patches attend to patches, then blocks that gather them in a class token.

    Class attention (section 3) is self-attention that answers for the class token alone, so these
    blocks are ViT's, asked for one query; the patches pass through them unchanged.
    """

    class_tokens = 1
    silent = ("blocks.*.attn.attend.proj_l.bias",)

    def __init__(self, config: CaiTConfig) -> None:
        super().__init__()
        c = self.config = config
        hidden = int(c.embed_dim * c.mlp_ratio)
        rows, columns = (-(-side // c.patch_size) for side in c.image_size)
        position = LearnedPosition((rows, columns), c.embed_dim, prefix=0, mode="bicubic")
        patches = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, position, drop=c.drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                c.embed_dim,
                TalkingHeadsAttention(c.embed_dim, c.num_heads, drop=c.drop_rate),
                Mlp(c.embed_dim, hidden, drop=c.drop_rate),
                drop_path=c.drop_path_rate,
                layer_scale=c.layer_scale,
            )
            for _ in range(c.depth)
        )
        self.class_token = ClassToken(c.embed_dim)
        self.class_blocks = nn.ModuleList(
            Block(
                c.embed_dim,
                Attention(c.embed_dim, c.num_heads),
                Mlp(c.embed_dim, hidden),
                layer_scale=c.layer_scale,
            )
            for _ in range(c.class_depth)
        )
        self.norm = nn.LayerNorm(c.embed_dim, 1e-6)
        trunk = [f"blocks.{i}" for i in range(c.depth)]
        names = [*trunk, *(f"class_blocks.{i}" for i in range(c.class_depth)), "final"]
        stride = (c.patch_size, c.patch_size)
        self.levels = tuple(Level(n, c.embed_dim, stride, int(n not in trunk)) for n in names)
        self.multiple = c.patch_size
        self.width, self.head_std = c.embed_dim, 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks of the trunk, class blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            x = block(x, grid)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.class_token(x)
        for i, block in enumerate(self.class_blocks):
            x = torch.cat([block(x, grid, 1), x[:, 1:]], dim=1)
            trace.tokens(f"class_blocks.{i}", x, grid)
        x = self.norm(x if taps else x[:, :1])
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the trunk, the class token with its blocks, and the last norm."""
        return [self.stem, *self.blocks, self.class_token, *self.class_blocks, self.norm]
