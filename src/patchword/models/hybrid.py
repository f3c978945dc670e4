"""Hybrid ViT: a transformer over the last map of a ResNet.

Paper      Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, section
           3.1; the smaller ones from Steiner et al. 2021, arXiv:2106.10270
Reference  github.com/google-research/vision_transformer, vit_jax/models_resnet.py; timm's
           vision_transformer_hybrid.py
Departures ViT's; as in timm, group norms add 1e-5 to the variance (`group_eps`; Google's 1e-6) and
           kernels are divided by the root of variance + 1e-8 (Google's by deviation + 1e-5)
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Trace, stage_levels
from patchword.layers import Grid, GroupNorm, PatchEmbed, Residual
from patchword.layers.grid import strided
from patchword.models.bit import StdConv
from patchword.models.resnet import Stem, stages
from patchword.models.vit import ViT, ViTConfig
from patchword.weights import Format, Rule, Rules, modules, within
from patchword.weights.google import KERNEL, google_formats, norm
from patchword.weights.plain import ON_DISK, transformers_format


@dataclass(frozen=True, kw_only=True)
class HybridConfig(ViTConfig):
    """ViT's settings; `patch_size` is the pixels of a token's side, the stem's stride included."""

    patch_size: int = 16
    stem_dim: int = 64  # channels after the convnet's first convolution
    stem_depth: tuple[int, ...] = (3, 4, 9)  # blocks of its stages; with none, no more follows
    group_eps: float = 1e-5  # of the convnet's norms

    @property
    def stem_stride(self) -> int:
        """Pixels of the side of one cell of the convnet's last map."""
        return 4 * 2 ** max(len(self.stem_depth) - 1, 0)

    def build(self) -> "Hybrid":
        """Make the backbone, with fresh weights."""
        return Hybrid(self)


def sized(config: HybridConfig, side: int) -> HybridConfig:
    """Return the same network for square images of another side, in pixels."""
    return replace(config, image_size=(side, side))


TINY = HybridConfig(patch_size=32, stem_depth=(), embed_dim=192, num_heads=3)
SMALL = HybridConfig(patch_size=32, stem_depth=(2, 2, 2, 2), embed_dim=384, num_heads=6)
BASE = HybridConfig()
LARGE = HybridConfig(patch_size=32, stem_depth=(3, 4, 6, 3), embed_dim=1024, depth=24, num_heads=16)

VARIANTS = {
    "vit_tiny_r_s16_p8_224": TINY,
    "vit_tiny_r_s16_p8_384": sized(TINY, 384),
    "vit_small_r26_s32_224": SMALL,
    "vit_small_r26_s32_384": sized(SMALL, 384),
    "vit_base_r26_s32_224": replace(SMALL, embed_dim=768, num_heads=12),
    "vit_base_r50_s16_224": BASE,
    "vit_base_r50_s16_384": sized(BASE, 384),
    "vit_large_r50_s32_224": LARGE,
    "vit_large_r50_s32_384": sized(LARGE, 384),
}

README = "README of vision_transformer: from ImageNet-21k, without dropout (85.08 with 0.1)"
CLAIMS = {"vit_base_r50_s16_384": Claim(top1=83.72, source=README)}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

PLACE = "stem.patch_embed.convnet"


def convnet_rules(config: HybridConfig) -> Rules:
    """Return Google's names of the convnet, which may be its first convolution alone."""
    stem = f"{PLACE}.stem.conv" if config.stem_depth else f"{PLACE}.conv"
    unit, ours = "block{#+1}/unit{#+1}", f"{PLACE}.stages.#.#"
    return (
        Rule("conv_root/kernel", f"{stem}.conv.weight", KERNEL),
        *norm("gn_root", f"{stem}.norm"),
        Rule(f"{unit}/conv_proj/kernel", f"{ours}.shortcut.conv.weight", KERNEL),
        *norm(f"{unit}/gn_proj", f"{ours}.shortcut.norm"),
        Rule(f"{unit}/conv{{#+1}}/kernel", f"{ours}.branch.#.conv.weight", KERNEL),
        *norm(f"{unit}/gn{{#+1}}", f"{ours}.branch.#.norm"),
    )


FORMATS = (
    Format(
        "timm",
        Rule("cls_token", "stem.prefix.class_token"),
        Rule("pos_embed", "stem.position.table"),
        *within(
            "patch_embed.backbone",
            PLACE,
            *modules({"conv": "conv.conv", "norm": "conv.norm"}),
            *modules({"stem.conv": "stem.conv.conv", "stem.norm": "stem.conv.norm"}),
            *within(
                "stages.#.blocks.#",
                "stages.#.#",
                *modules({"conv{#+1}": "branch.#.conv", "norm{#+1}": "branch.#.norm"}),
                *modules({"downsample": "shortcut"}),
            ),
        ),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("blocks.#.*", "blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
    *google_formats({"act": "tanh", "resample": "linear", "group_eps": 1e-6}, convnet_rules),
    transformers_format(  # as it stands in their DPT
        "transformers",
        "encoder.layer",
        ON_DISK,
        Rule("embeddings.projection.*", "stem.patch_embed.proj.*"),
        *within(
            "embeddings.backbone.bit",
            PLACE,
            *modules({"embedder.convolution": "stem.conv.conv", "embedder.norm": "stem.conv.norm"}),
            *within(
                "encoder.stages.#.layers.#",
                "stages.#.#",
                *modules({"conv{#+1}": "branch.#.conv", "norm{#+1}": "branch.#.norm"}),
                *modules({"downsample": "shortcut"}),
            ),
        ),
    ),
)


class SamePad(nn.Module):
    """Zeros around a map, as TensorFlow puts them: what is uneven goes right and below.

    Args:
        kernel: of the convolution that follows: its side in cells.
        stride: of it.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Pad a map, so that its sides are divided by the stride, and rounded up."""
        reached = [-(-side // self.stride) * self.stride for side in x.shape[2:]]
        excess = self.kernel - self.stride
        rows, columns = (
            max(end - side + excess, 0) for end, side in zip(reached, x.shape[2:], strict=True)
        )
        return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))


class SameConv(StdConv):
    """A standardised convolution padded as TensorFlow's: its stride divides sides, rounded up."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int = 1) -> None:
        super().__init__(dim_in, dim, kernel, stride)
        self.pad = nn.Identity()
        if kernel > 1 and stride > 1:
            self.pad, self.padding = SamePad(kernel, stride), (0, 0)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Convolve a map with the standardised kernels."""
        return super().forward(self.pad(input))

    def fused(self) -> nn.Module:
        return nn.Sequential(self.pad, super().fused())


class SamePool(nn.Module):
    """The maximum of 3x3 cells at a stride of 2, padded as TensorFlow's, without a copy."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Halve a map's sides, rounded up: odd ones are padded on both sides, even ones after."""
        odd = (x.shape[2] % 2, x.shape[3] % 2)
        return F.max_pool2d(x, 3, 2, odd, ceil_mode=True)


class ConvNorm(nn.Module):
    """A standardised convolution, group norm, and perhaps ReLU."""

    def __init__(
        self, conv: SameConv, eps: float, act: nn.Module | None = None, *, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = GroupNorm(32, conv.out_channels, eps)
        self.act = act or nn.Identity()
        nn.init.constant_(self.norm.weight, gain)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Convolve, normalise, activate."""
        return self.act(self.norm(self.conv(x)))


def bottleneck(
    dim_in: int, dim: int, stride: int, drop_path: float, *, eps: float = 1e-5
) -> Residual:
    """Return ResNet's bottleneck with these norms; the last one's gain starts at 0."""
    hidden = dim // 4
    branch = nn.Sequential(
        ConvNorm(SameConv(dim_in, hidden, 1), eps, nn.ReLU(inplace=True)),
        ConvNorm(SameConv(hidden, hidden, 3, stride), eps, nn.ReLU(inplace=True)),
        ConvNorm(SameConv(hidden, dim, 1), eps, gain=0.0),
    )
    if (dim_in, stride) == (dim, 1):
        return Residual(branch, nn.Identity(), drop_path)
    return Residual(branch, ConvNorm(SameConv(dim_in, dim, 1, stride), eps), drop_path)


def convnet(config: HybridConfig) -> nn.Module:
    """Return the stem of a ResNet, and those of its stages that there are."""
    c = config
    root = ConvNorm(SameConv(c.in_chans, c.stem_dim, 7, 2), c.group_eps, nn.ReLU(inplace=True))
    stem = Stem(c.in_chans, root, SamePool())
    if not c.stem_depth:
        return stem
    dims = [4 * c.stem_dim * 2**i for i in range(len(c.stem_depth))]
    made = stages(c.stem_dim, dims, c.stem_depth, partial(bottleneck, eps=c.group_eps))
    return nn.Sequential(OrderedDict(stem=stem, stages=nn.Sequential(*made)))


class HybridEmbed(PatchEmbed):
    """Tokens are patches, of one cell most often, of a convnet's map instead of the image."""

    def __init__(self, config: HybridConfig) -> None:
        c = config
        cells, uneven = divmod(c.patch_size, c.stem_stride)
        if uneven or not cells:
            raise ShapeError(
                f"the convnet's stride is {c.stem_stride}: patch_size must be a multiple of it"
            )
        wide = c.stem_dim * (2 ** (len(c.stem_depth) + 1) if c.stem_depth else 1)
        super().__init__(cells, wide, c.embed_dim)
        self.convnet, self.pixels = convnet(c), c.patch_size

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on.

        Raises:
            ShapeError: the channels are others, or the map cannot be cut into patches.
        """
        return self.cut(self.maps(images)[-1])

    def maps(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the convnet's maps: that of each stage, or of its stem where it has no stages.

        Raises:
            ShapeError: as `forward`.
        """
        if self.patch_size > 1:
            fault, _ = strided(tuple(images.shape[2:]), (self.pixels, self.pixels))
            if fault:
                raise ShapeError(fault)
        if isinstance(self.convnet, Stem):
            return [self.convnet(images)]
        stem, stages = self.convnet.children()
        x = stem(images)
        found: list[Tensor] = []
        for stage in stages.children():
            x = stage(x)
            found.append(x)
        return found

    def cut(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the patches of the convnet's last map, and their grid."""
        return super().forward(x)


class Hybrid(ViT):
    """A ViT over a convnet, whose stages can be tapped too, where it has any."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config, HybridEmbed(config))
        dims = [4 * config.stem_dim << i for i in range(len(config.stem_depth))]
        if dims:
            found = stage_levels(dims, [4 << i for i in range(len(dims))])
            self.levels = (*found[:-1], *self.levels)

    def enter(
        self, images: Float[Tensor, "b c h w"], trace: Trace
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        embed = self.stem.patch_embed
        assert isinstance(embed, HybridEmbed)
        maps = embed.maps(images)
        for i, x in enumerate(maps if self.config.stem_depth else []):
            trace.map(f"stages.{i}", x)
        return self.stem.placed(*embed.cut(maps[-1]))

    def pyramid(self) -> tuple[str, ...]:
        """Name two stages and the ends of the last two quarters of blocks, as DPT-Hybrid does."""
        stages = tuple(f"stages.{i}" for i in range(len(self.config.stem_depth)))[:2]
        depth = len(self.blocks)
        if len(stages) < 2 or depth < 2:
            return super().pyramid()
        return (*stages, f"blocks.{max(depth * 3 // 4 - 1, 0)}", f"blocks.{depth - 1}")
