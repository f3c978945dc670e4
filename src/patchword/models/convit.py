"""ConViT: attention that begins as a convolution and learns, head by head, how far to leave it.

Paper      d'Ascoli et al., "ConViT: Improving Vision Transformers with Soft Convolutional
           Inductive Biases", ICML 2021, arXiv:2103.10697
Reference  github.com/facebookresearch/convit, convit.py; timm's convit.py
Departures the positional scores' bias, which their softmax cancels, is kept but not computed;
           other image sizes work, oblong ones too, with positions resampled as in DeiT's scripts
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ConfigError
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attend,
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
    ramp,
    split_heads,
    truncated,
)
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class ConViTConfig:
    """The sizes of ConViT-Ti, and what else the paper varies."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 192  # channels of a token
    depth: int = 12  # blocks
    local_depth: int = 10  # the first of them, which are gated; the class token enters behind them
    num_heads: int = 4
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    locality_strength: float = 1.0  # how sharply a fresh head looks at its one cell
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "ConViT":
        """Make the backbone, with fresh weights."""
        return ConViT(self)


VARIANTS = {
    "convit_tiny": ConViTConfig(),
    "convit_small": ConViTConfig(embed_dim=432, num_heads=9),
    "convit_base": ConViTConfig(embed_dim=768, num_heads=16),
    "convit_mini_patch4_32": ConViTConfig(
        image_size=(32, 32), patch_size=4, embed_dim=128, depth=4, local_depth=3
    ),  # ours, for small pictures
}

CLAIMS = {"convit_tiny": Claim(top1=73.116, source="README")}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FORMATS = (
    Format(
        "timm",  # and the authors'
        Rule("cls_token", "class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.attn.gating_param", "blocks.#.attn.attend.gating_param"),
        Rule("blocks.#.attn.pos_proj.*", "blocks.#.attn.attend.pos_proj.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class GatedAttend(Operator):
    """Attention by content and attention by position, weighed by a gate per head (equation 7).

    (1 - g) softmax(q k' / sqrt(c)) v + g P v with g = sigmoid(gating_param). P is the same for
    every image, so it is made once per batch; as both parts' rows sum to 1, so do the gated ones,
    and the authors' renormalisation is left out.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.content = Attend()
        self.pos_proj = nn.Linear(3, num_heads)  # of (dx, dy, dx^2 + dy^2)
        self.gating_param = nn.Parameter(torch.ones(num_heads))

    @torch.no_grad()
    def localise(self, strength: float) -> None:
        """Let each head look at one cell of a square around the query.

        Heads beyond the largest square number keep the directions that they have.
        """
        side = isqrt(len(self.pos_proj.weight))
        offsets = torch.arange(side) - (side - 1) / 2
        dx, dy = offsets.repeat_interleave(side), offsets.repeat(side)
        self.pos_proj.weight[: side**2] = torch.stack([2 * dx, 2 * dy, -torch.ones_like(dx)], dim=1)
        self.pos_proj.weight *= strength

    def position(self, grid: Grid) -> Float[Tensor, "h n n"]:
        """Return P, the softmax over all cells of a score that is quadratic in their offset.

        Offsets are key less query. The score is a sum over the two axes, so the softmax is a
        product, and that over each axis is all that there is to compute.
        """
        right, down, square = self.pos_proj.weight.float().T
        rows, columns = (
            along(side, slope, square) for side, slope in zip(grid, (down, right), strict=True)
        )
        return (rows[:, :, None, :, None] * columns[:, None, :, None, :]).flatten(3).flatten(1, 2)

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h n c"],
        v: Float[Tensor, "b h n e"],
        grid: Grid,
    ) -> Float[Tensor, "b h n e"]:
        """Attend among the n cells of a grid."""
        gate = self.gating_param.sigmoid()[:, None, None]
        position = (gate * self.position(grid)).to(v.dtype)
        return (1 - gate) * self.content(q, k, v) + torch.einsum("hnm,bhme->bhne", position, v)

    def weights(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h n c"],
        v: Float[Tensor, "b h n e"],
        grid: Grid,
    ) -> Float[Tensor, "b h n n"]:
        """Work out what the values are mixed with."""
        gate = self.gating_param.sigmoid()[:, None, None]
        return (1 - gate) * self.content.weights(q, k, v) + gate * self.position(grid)


def along(
    side: int, slope: Float[Tensor, " h"], square: Float[Tensor, " h"]
) -> Float[Tensor, "h side side"]:
    """Return the positional attention between the cells of one axis, from query to key."""
    cells = torch.arange(side, device=slope.device)
    offset = cells - cells[:, None]
    return (slope[:, None, None] * offset + square[:, None, None] * offset**2).softmax(-1)


class GPSA(TokenMixer):
    """Gated positional self-attention: a convolution at first."""

    def __init__(self, dim: int, num_heads: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.attend = GatedAttend(num_heads)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    @torch.no_grad()
    def localise(self, strength: float) -> None:
        """Start as a convolution whose values are the tokens themselves."""
        nn.init.eye_(self.v.weight)
        self.attend.localise(strength)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix the cells of a grid."""
        parts = (*self.qk(x).chunk(2, -1), self.v(x))
        q, k, v = (split_heads(t, self.num_heads) for t in parts)
        return self.drop(self.proj(merge_heads(self.attend(q, k, v, grid))))


class ConViT(Backbone):
    """Gated blocks between patches, then plain ones with a class token.

    Raises:
        ConfigError: no plain block is left to read the patches into the class token.
    """

    class_tokens = 1
    silent = ("blocks.*.attn.attend.pos_proj.bias",)

    def __init__(self, config: ConViTConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.local_depth >= c.depth:
            raise ConfigError(f"local_depth is {c.local_depth}: it must be below depth, {c.depth}")
        rows, columns = (-(-side // c.patch_size) for side in c.image_size)
        position = LearnedPosition((rows, columns), c.embed_dim, prefix=0, mode="bicubic")
        patches = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, position, drop=c.drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                c.embed_dim,
                GPSA(c.embed_dim, c.num_heads, drop=c.drop_rate)
                if i < c.local_depth
                else Attention(c.embed_dim, c.num_heads, qkv_bias=False, drop=c.drop_rate),
                Mlp(c.embed_dim, int(c.embed_dim * c.mlp_ratio), drop=c.drop_rate),
                drop_path=rate,
            )
            for i, rate in enumerate(ramp(c.drop_path_rate, c.depth))
        )
        self.class_token = ClassToken(c.embed_dim)
        self.norm = nn.LayerNorm(c.embed_dim, 1e-6)
        self.multiple = step = c.patch_size
        self.levels = block_levels(c.depth, c.embed_dim, (step, step), 1, since=c.local_depth)
        self.width, self.head_std = c.embed_dim, 0.02
        self.apply(truncated)
        for part in self.modules():
            if isinstance(part, GPSA):
                part.localise(c.locality_strength)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            if i == self.config.local_depth:
                x = self.class_token(x)
            last = i + 1 == len(self.blocks)
            x = block(x, grid, 1) if last and not taps else block(x, grid)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the gated blocks, the class token, the plain blocks, the last norm."""
        local = self.config.local_depth
        gated, plain = self.blocks[:local], self.blocks[local:]
        return [self.stem, *gated, self.class_token, *plain, self.norm]
