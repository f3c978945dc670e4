"""DeepViT: attention maps that are made anew from those of all heads, so that they stay apart.

Paper      Zhou et al., "DeepViT: Towards Deeper Vision Transformer", arXiv:2103.11886
Reference  github.com/zhoudaquan/dvit_repo, models/deep_vision_transformer.py and layers.py
Departures other image sizes work: positions are resampled, bicubic as in DeiT's scripts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

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
    Operator,
    PatchEmbed,
    PatchStem,
    TokenMixer,
    admit,
    merge_heads,
    ramp,
    split_heads,
    strided,
    truncated,
)
from patchword.models.cait import mix_heads
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class DeepViTConfig:
    """The paper's sizes, and what the authors' code adds for its best models."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 384  # channels of a token
    depth: int = 16  # blocks
    plain_depth: int = 0  # the first of them, whose attention is ViT's
    num_heads: int = 12
    mlp_ratio: float = 3.0  # hidden channels of the MLP per channel of a token
    patches: Literal["linear", "convolved"] = "linear"  # cut at once, or after two convolutions
    shrink: float = 1.0  # of what a branch reads; what it writes grows by as much
    scaled: bool = False  # new maps are divided by the root of a head's channels
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "DeepViT":
        """Make the backbone, with fresh weights."""
        return DeepViT(self)


SMALL = DeepViTConfig(embed_dim=396, plain_depth=11, patches="convolved", shrink=0.5, scaled=True)
LARGE = DeepViTConfig(embed_dim=420, depth=32, plain_depth=20, patches="convolved", shrink=0.5)

VARIANTS = {
    "deepvit_patch16_224_re_attn_16b": DeepViTConfig(),
    "deepvit_patch16_224_re_attn_24b": DeepViTConfig(depth=24),
    "deepvit_patch16_224_re_attn_32b": DeepViTConfig(depth=32),
    "deepvit_S": SMALL,
    "deepvit_L": LARGE,
    "deepvit_L_384": replace(LARGE, image_size=(384, 384)),
}

CLAIMS = {
    "deepvit_patch16_224_re_attn_16b": Claim(params=24.5, top1=79.10, source="README"),
    "deepvit_patch16_224_re_attn_24b": Claim(params=36.3, top1=79.99, source="README"),
    "deepvit_patch16_224_re_attn_32b": Claim(params=48.1, top1=80.90, source="README"),
    "deepvit_S": Claim(top1=82.3, source="README"),
    "deepvit_L": Claim(top1=83.1, source="README"),
    "deepvit_L_384": Claim(top1=84.25, source="README"),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

FORMATS = (
    Format(
        "authors",
        Rule("cls_token", "stem.class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.*", "stem.patch_embed.*"),
        Rule("blocks.#.attn.reatten_matrix.*", "blocks.#.attn.attend.reatten_matrix.*"),
        Rule("blocks.#.attn.var_norm.*", "blocks.#.attn.attend.var_norm.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
)


class ReAttend(Operator):
    """Norm(Theta softmax(q k' / sqrt(c))) v: equation 3, where Theta mixes the heads.

    With the norm's running statistics, Theta and the norm together are one mix of the heads, and
    a number per head added to every weight.
    """

    def __init__(self, num_heads: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.reatten_matrix = nn.Conv2d(num_heads, num_heads, 1)
        self.var_norm = nn.BatchNorm2d(num_heads)

    def forward(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], v: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b h n e"]:
        """Attend from n queries to m keys."""
        maps = softmax(q, k)
        if self.var_norm.training:
            return self.scale * self.var_norm(self.reatten_matrix(maps)) @ v
        mix, added = self._folded()
        return (mix_heads(maps, mix) + added) @ v

    def weights(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], v: Float[Tensor, "b h m e"]
    ) -> Float[Tensor, "b h n m"]:
        """Work out what the values are mixed with; rows need not sum to 1."""
        maps, norm = softmax(q, k), self.var_norm
        if norm.training:  # by the batch's statistics, of which no trace is kept
            maps = self.reatten_matrix(maps)
            mean = maps.mean(dim=(0, 2, 3), keepdim=True)
            deviation = (maps.var(dim=(0, 2, 3), correction=0, keepdim=True) + norm.eps).sqrt()
            weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
            return self.scale * ((maps - mean) / deviation * weight + bias)
        mix, added = self._folded()
        return mix_heads(maps, mix) + added

    def _folded(self) -> tuple[Float[Tensor, "h h"], Float[Tensor, "h 1 1"]]:
        norm, theta = self.var_norm, self.reatten_matrix
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None and theta.bias is not None
        gain = self.scale * norm.weight * (variance + norm.eps).rsqrt()
        added = self.scale * norm.bias + gain * (theta.bias - mean)
        return gain[:, None] * theta.weight.flatten(1), added[:, None, None]


def softmax(q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"]) -> Float[Tensor, "b h n m"]:
    """Return each head's own attention map."""
    return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)


class ReAttention(TokenMixer):
    """Self-attention over all tokens, with re-attention (section 4.2)."""

    def __init__(self, config: DeepViTConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.embed_dim, config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        scale = (dim // self.num_heads) ** -0.5 if config.scaled else 1.0
        self.attend = ReAttend(self.num_heads, scale)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix tokens; where they lie on the grid plays no part.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: answer for the first k tokens alone; for all n where it is None, as the norm
                needs while it learns.
        """
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x).chunk(3, -1))
        return self.drop(self.proj(merge_heads(self.attend(q[:, :, :queries], k, v))))


class Grow(nn.Module):
    """A constant factor on what a branch writes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Scale every channel."""
        return x * self.factor


class ConvPatchEmbed(PatchEmbed):
    """Two convolutions, the first of stride 2, before the patches are cut (as T2T-ViT's)."""

    def __init__(self, patch_size: int, in_chans: int, dim: int) -> None:
        super().__init__(patch_size // 2, 64, dim)
        self.conv1 = nn.Conv2d(in_chans, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on.

        Raises:
            ShapeError: a side is no multiple of the patch size, or the channels are others.
        """
        admit(images, self.conv1.in_channels)
        fault, _ = strided(tuple(images.shape[2:]), (2 * self.patch_size, 2 * self.patch_size))
        if fault:
            raise ShapeError(fault)
        x = self.bn1(self.conv1(images)).relu()
        return super().forward(self.bn2(self.conv2(x)).relu())


class DeepViT(Backbone):
    """A ViT of which the deeper blocks mix their attention maps."""

    class_tokens = 1

    def __init__(self, config: DeepViTConfig) -> None:
        super().__init__()
        c = self.config = config
        rows, columns = (-(-side // c.patch_size) for side in c.image_size)
        position = LearnedPosition((rows, columns), c.embed_dim, prefix=1, mode="bicubic")
        embed = PatchEmbed if c.patches == "linear" else ConvPatchEmbed
        patches = embed(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, position, ClassToken(c.embed_dim), drop=c.drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                c.embed_dim,
                Attention(c.embed_dim, c.num_heads, drop=c.drop_rate)
                if i < c.plain_depth
                else ReAttention(c),
                Mlp(c.embed_dim, int(c.embed_dim * c.mlp_ratio), drop=c.drop_rate),
                drop_path=rate,
                eps=1e-6 / c.shrink**2,  # norm(shrink x) is this norm of x
            )
            for i, rate in enumerate(ramp(c.drop_path_rate, c.depth))
        )
        if c.shrink != 1.0:
            for block in self.blocks:
                block.ls1, block.ls2 = Grow(1 / c.shrink), Grow(1 / c.shrink)
        self.norm = nn.LayerNorm(c.embed_dim, 1e-6)
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size, c.patch_size), 1)
        self.multiple = c.patch_size
        self.width, self.head_std = c.embed_dim, 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            alone = i + 1 == len(self.blocks) and not taps and not self.training
            x = block(x, grid, 1 if alone else None)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x if taps else x[:, :1])
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm."""
        return [self.stem, *self.blocks, self.norm]
