"""Swin: a pyramid of attention inside windows, shifted by half a window in every other block.

Paper      Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
           ICCV 2021, arXiv:2103.14030
Reference  github.com/microsoft/Swin-Transformer, models/swin_transformer.py; the S3 variants are
           found by search (Chen et al. 2021, arXiv:2111.14725), as in timm
Departures grids that windows do not tile are padded by timm's rules, where the authors' code
           refuses the image; `tiling` names the rules of the others. No dropout of attention
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Block,
    Grid,
    LearnedPosition,
    Mlp,
    PatchEmbed,
    Tiling,
    WindowAttention,
    Windows,
    ramp,
    through,
    truncated,
    two_by_two,
)
from patchword.weights import Rule
from patchword.weights.configs import Kind
from patchword.weights.settings import Choice
from patchword.weights.windowed import UNREAD, WINDOWED, formats, transformers_format


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    """Section 3.3 of the paper; a tuple has an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns
    patch_size: int = 4  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 96  # channels of a token in the first stage; each later one doubles them
    depth: tuple[int, ...] = (2, 2, 6, 2)  # blocks
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: tuple[int, ...] = (7, 7, 7, 7)  # cells along a window's side
    tiling: Tiling = "timm"  # the rules for grids that windows do not tile
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    qkv_bias: bool = True
    patch_norm: bool = True  # whether patches are normalised
    position: Literal["none", "learned"] = "none"  # absolute ones, as in table 4
    drop_rate: float = 0.0  # dropout: of patches, and after each projection and MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "Swin":
        """Make the backbone, with fresh weights."""
        return Swin(self)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The grid of each stage, for images of `image_size`."""
        steps = [self.patch_size * 2**i for i in range(len(self.depth))]
        return tuple(tuple(-(-side // step) for side in self.image_size) for step in steps)

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of each stage's windows."""
        pairs = zip(self.grids, self.window_size, strict=True)
        return tuple(fitted(grid, window, self.tiling) for grid, window in pairs)


TINY = SwinConfig()
SMALL = replace(TINY, depth=(2, 2, 18, 2))
BASE = replace(SMALL, embed_dim=128, num_heads=(4, 8, 16, 32))
LARGE = replace(SMALL, embed_dim=192, num_heads=(6, 12, 24, 48))
AT_384 = {"image_size": (384, 384), "window_size": (12,) * 4}

VARIANTS = {
    "swin_tiny_patch4_window7_224": TINY,
    "swin_small_patch4_window7_224": SMALL,
    "swin_base_patch4_window7_224": BASE,
    "swin_base_patch4_window12_384": replace(BASE, **AT_384),
    "swin_large_patch4_window7_224": LARGE,
    "swin_large_patch4_window12_384": replace(LARGE, **AT_384),
    "swin_tiny_c24_patch4_window8_256": replace(
        TINY, image_size=(256, 256), num_heads=(4, 8, 16, 32), window_size=(8, 8, 8, 8)
    ),
    "swin_s3_tiny_224": replace(TINY, window_size=(7, 7, 14, 7)),
    "swin_s3_small_224": replace(SMALL, window_size=(14, 14, 14, 7)),
    "swin_s3_base_224": replace(TINY, depth=(2, 2, 30, 2), window_size=(7, 7, 14, 7)),
    "swin_mini_patch2_32": SwinConfig(
        image_size=(32, 32),
        patch_size=2,
        embed_dim=48,
        depth=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=(4, 4, 4),
    ),  # ours, for small pictures
}

HUB = "MODELHUB.md of the reference"
HUB_22K = f"{HUB}; pre-trained on ImageNet-22k"
CLAIMS = {
    "swin_tiny_patch4_window7_224": Claim(28.0, 4.5, 81.2, HUB),
    "swin_small_patch4_window7_224": Claim(50.0, 8.7, 83.2, HUB),
    "swin_base_patch4_window7_224": Claim(88.0, 15.4, 83.5, HUB),
    "swin_base_patch4_window12_384": Claim(88.0, 47.1, 84.5, HUB),
    "swin_large_patch4_window7_224": Claim(197.0, 34.5, 86.3, HUB_22K),
    "swin_large_patch4_window12_384": Claim(197.0, 103.9, 87.3, HUB_22K),
    "swin_tiny_c24_patch4_window8_256": Claim(28.0, 5.9, 81.6, HUB),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.9, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


FORMATS = (
    *formats(
        Rule("attn.qkv.*", "attn.qkv.*"),
        Rule("attn.relative_position_bias_table", "attn.bias.table"),
    ),
    transformers_format(
        "transformers",
        "swin.",
        (
            Rule(("self.query.*", "self.key.*", "self.value.*"), "qkv.*"),
            Rule("self.relative_position_bias_table", "bias.table"),
            Rule("output.dense.*", "proj.*"),
        ),
        fc1="intermediate.dense",
        fc2="output.dense",
    ),
    transformers_format(
        "transformers in memory",
        "swin.",
        (
            Rule(("q_proj.*", "k_proj.*", "v_proj.*"), "qkv.*"),
            Rule("relative_position_bias.relative_position_bias_table", "bias.table"),
            Rule("o_proj.*", "proj.*"),
        ),
        fc1="mlp.fc1",
        fc2="mlp.fc2",
    ),
)

CONFIGS = (
    Kind(
        "swin",
        "SwinForImageClassification",
        (
            *WINDOWED,
            Choice("use_absolute_embeddings", "position", {False: "none", True: "learned"}, False),
        ),
        unread=UNREAD,
    ),
)


def fitted(grid: Grid, window: int, tiling: Tiling) -> tuple[int, int]:
    """Return the window's rows and columns on a grid that may be smaller than it."""
    rows, columns = grid
    match tiling:
        case "timm":
            return min(rows, window), min(columns, window)
        case "torchvision":
            return window, window
        case "authors":
            return min(rows, columns, window), min(rows, columns, window)


class Stem(nn.Module):
    """From images to patches, normalised."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        c = config
        self.patch_embed = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.norm = nn.LayerNorm(c.embed_dim) if c.patch_norm else nn.Identity()
        self.position = None
        if c.position == "learned":
            self.position = LearnedPosition(c.grids[0], c.embed_dim, prefix=0, mode="bicubic")
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on."""
        x, grid = self.patch_embed(images)
        x = self.norm(x)
        if self.position is not None:
            x = x + self.position(grid)
        return self.drop(x), grid


class PatchMerging(nn.Module):
    """Make one token of four neighbours, with twice the channels (section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Return the tokens and their grid, half the old one."""
        x, grid = two_by_two(x, grid)
        return self.reduction(self.norm(x)), grid


class Stage(nn.Module):
    """Blocks on one grid, entered through a merging but for the first."""

    def __init__(
        self, merge: nn.Module | None, windows: list[Windows], blocks: list[nn.Module]
    ) -> None:
        super().__init__()
        self.merge = merge
        self.windows = nn.ModuleList(windows)  # plain and shifted, in turn
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Return the stage's tokens, row by row, and their grid."""
        if self.merge is not None:
            x, grid = self.merge(x, grid)
        plain, shifted = (w for w in self.windows if isinstance(w, Windows))
        turns = [(block, shifted if i % 2 else plain) for i, block in enumerate(self.blocks)]
        return through(turns, x, grid), grid


class Swin(Backbone):
    """Four stages of window attention, each at half the resolution of the one before.

    Args:
        config: the sizes.
        block: makes a block of stage, windows and stochastic depth; a pre-norm one if None.
        merge: makes a merging of tokens of so many channels.
    """

    def __init__(
        self,
        config: SwinConfig,
        block: Callable[[int, Windows, float], nn.Module] | None = None,
        merge: Callable[[int], nn.Module] = PatchMerging,
    ) -> None:
        super().__init__()
        c = self.config = config
        make = block or self._block
        dims = [c.embed_dim * 2**i for i in range(len(c.depth))]
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))
        self.stem = Stem(c)
        self.stages = nn.ModuleList()
        for i, (dim, grid, window) in enumerate(zip(dims, c.grids, c.windows, strict=True)):
            pair = [Windows(grid, window, shifted=s, tiling=c.tiling) for s in (False, True)]
            blocks = [make(i, pair[j % 2], next(rates)) for j in range(c.depth[i])]
            self.stages.append(Stage(merge(dim // 2) if i else None, pair, blocks))
        self.norm = nn.LayerNorm(dims[-1])
        self.levels = stage_levels(dims, [c.patch_size * 2**i for i in range(len(dims))])
        self.multiple = c.patch_size
        self.width, self.head_std = dims[-1], 0.02
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images (figure 3); `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, stage in enumerate(self.stages):
            x, grid = stage(x, grid)
            trace.tokens(f"stages.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks with the mergings between them, and the last norm."""
        stages = [stage for stage in self.stages if isinstance(stage, Stage)]
        parts = [part for stage in stages for part in (stage.merge, *stage.blocks)]
        return [self.stem, *(part for part in parts if part is not None), self.norm]

    def _block(self, i: int, windows: Windows, drop_path: float) -> Block:
        c, dim = self.config, self.config.embed_dim * 2**i
        attn = WindowAttention(dim, c.num_heads[i], windows, bias=c.qkv_bias, drop=c.drop_rate)
        mlp = Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate)
        return Block(dim, attn, mlp, drop_path=drop_path, eps=1e-5)
