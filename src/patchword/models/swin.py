"""Swin: a pyramid of attention inside windows, shifted by half a window in every other block.

Paper      Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
           ICCV 2021, arXiv:2103.14030
Reference  github.com/microsoft/Swin-Transformer, models/swin_transformer.py; the S3 variants are
           found by search (Chen et al. 2021, arXiv:2111.14725), as in timm
Departures grids that windows do not tile are padded by timm's rules, where the authors' code
           refuses the image; `tiling` names the rules of the others. No dropout of attention
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    READING,
    Attend,
    Block,
    Grid,
    LearnedPosition,
    Mlp,
    PatchEmbed,
    RelativeBias,
    Tiling,
    Windows,
    fitted,
    merge_heads,
    ramp,
    relative_index,
    reorder,
    split_heads,
    truncated,
    two_by_two,
)
from patchword.weights import Format, Rule


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
AT_256 = {"image_size": (256, 256), "window_size": (8,) * 4}

VARIANTS = {
    "swin_tiny_patch4_window7_224": TINY,
    "swin_small_patch4_window7_224": SMALL,
    "swin_base_patch4_window7_224": BASE,
    "swin_base_patch4_window12_384": replace(BASE, **AT_384),
    "swin_large_patch4_window7_224": LARGE,
    "swin_large_patch4_window12_384": replace(LARGE, **AT_384),
    "swin_tiny_c24_patch4_window8_256": replace(TINY, num_heads=(4, 8, 16, 32), **AT_256),
    "swin_s3_tiny_224": replace(TINY, window_size=(7, 7, 14, 7)),
    "swin_s3_small_224": replace(SMALL, window_size=(14, 14, 14, 7)),
    "swin_s3_base_224": replace(TINY, depth=(2, 2, 30, 2), window_size=(7, 7, 14, 7)),
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


def tables(config: Any, stage: str, *, masks: bool) -> dict[str, Tensor]:
    """Return the tables that others keep beside the weights, under their names.

    Args:
        config: of the backbone.
        stage: the beginning of a block's names, with `{i}` for the stage's number.
        masks: whether seams are kept, and indices are square (the authors') or flat.
    """
    found: dict[str, Tensor] = {}
    for i, window in enumerate(config.windows):
        index = relative_index(window)
        seams = Windows(config.grids[i], window, shifted=True, tiling=config.tiling).seams
        for j in range(config.depth[i]):
            block = f"{stage.format(i=i, odd=2 * i + 1)}.{j}"
            found[f"{block}.attn.relative_position_index"] = index if masks else index.flatten()
            if masks and j % 2 and seams is not None:
                found[f"{block}.attn_mask"] = seams
    return found


def authors_tables(config: Any) -> dict[str, Tensor]:
    """Return the tables in the authors' files."""
    return tables(config, "layers.{i}.blocks", masks=True)


def torchvision_tables(config: Any) -> dict[str, Tensor]:
    """Return the tables in torchvision's files."""
    return tables(config, "features.{odd}", masks=False)


AT_MOST = range(8)  # stages that the formats name one by one
PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp")  # of a block

AUTHORS = (
    Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
    Rule("patch_embed.norm.*", "stem.norm.*"),
    Rule("absolute_pos_embed", "stem.position.table"),
    Rule(
        "layers.#.blocks.#.attn.relative_position_bias_table", "stages.#.blocks.#.attn.bias.table"
    ),
    *(Rule(f"layers.#.blocks.#.{part}.*", f"stages.#.blocks.#.{part}.*") for part in PARTS),
    Rule("norm.*", "norm.*"),
)


def transformers_format(name: str, attention: dict[str, str], fc1: str, fc2: str) -> Format:
    """Return transformers' names: a file's and a module's differ."""
    layer, block = "encoder.layers.#.blocks.#", "stages.#.blocks.#"
    qkv = tuple(f"{layer}.attention.{attention[part]}.*" for part in ("query", "key", "value"))
    merges = (Rule(f"encoder.layers.{i}.downsample.*", f"stages.{i + 1}.merge.*") for i in AT_MOST)
    return Format(
        name,
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule("embeddings.norm.*", "stem.norm.*"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        Rule(f"{layer}.layernorm_before.*", f"{block}.norm1.*"),
        Rule(f"{layer}.attention.{attention['bias']}", f"{block}.attn.bias.table"),
        Rule(qkv, f"{block}.attn.qkv.*"),
        Rule(f"{layer}.attention.{attention['output']}.*", f"{block}.attn.proj.*"),
        Rule(f"{layer}.layernorm_after.*", f"{block}.norm2.*"),
        Rule(f"{layer}.{fc1}.*", f"{block}.mlp.fc1.*"),
        Rule(f"{layer}.{fc2}.*", f"{block}.mlp.fc2.*"),
        *merges,
        Rule("layernorm.*", "norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("swin.",),
        ignore=(f"{layer}.attention.self.relative_position_index",),
    )


FORMATS = (
    Format(
        "timm",
        *(Rule(f"layers.{i + 1}.downsample.*", f"stages.{i + 1}.merge.*") for i in AT_MOST),
        *AUTHORS,
        head=(Rule("head.fc.*", "head.label.*"),),
    ),
    Format(
        "authors",
        *(Rule(f"layers.{i}.downsample.*", f"stages.{i + 1}.merge.*") for i in AT_MOST),
        *AUTHORS,
        head=(Rule("head.*", "head.label.*"),),
        ignore=("layers.#.blocks.#.attn.relative_position_index", "layers.#.blocks.#.attn_mask"),
        derived=authors_tables,
    ),
    transformers_format(
        "transformers",
        {
            **{part: f"self.{part}" for part in ("query", "key", "value")},
            "bias": "self.relative_position_bias_table",
            "output": "output.dense",
        },
        "intermediate.dense",
        "output.dense",
    ),
    transformers_format(
        "transformers in memory",
        {
            **{"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
            "bias": "relative_position_bias.relative_position_bias_table",
        },
        "mlp.fc1",
        "mlp.fc2",
    ),
    Format(
        "torchvision",
        Rule("features.0.0.*", "stem.patch_embed.proj.*"),
        Rule("features.0.2.*", "stem.norm.*"),
        *(Rule(f"features.{2 * i + 2}.*", f"stages.{i + 1}.merge.*") for i in AT_MOST),
        *(
            rule
            for i in AT_MOST
            for rule in (
                Rule(
                    f"features.{2 * i + 1}.#.attn.relative_position_bias_table",
                    f"stages.{i}.blocks.#.attn.bias.table",
                ),
                Rule(f"features.{2 * i + 1}.#.mlp.0.*", f"stages.{i}.blocks.#.mlp.fc1.*"),
                Rule(f"features.{2 * i + 1}.#.mlp.3.*", f"stages.{i}.blocks.#.mlp.fc2.*"),
                *(
                    Rule(f"features.{2 * i + 1}.#.{part}.*", f"stages.{i}.blocks.#.{part}.*")
                    for part in PARTS[:-1]
                ),
            )
        ),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=("features.#.#.attn.relative_position_index",),
        derived=torchvision_tables,
    ),
)


class WindowAttention(nn.Module):
    """Self-attention among the tokens of a window, with a bias by their offset (equation 4)."""

    def __init__(
        self, dim: int, num_heads: int, windows: Windows, *, bias: bool = True, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads, self.windows = num_heads, windows
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.bias = RelativeBias(windows.window, num_heads)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens, which come in the order of the windows (`Order`)."""
        order = self.windows(x, grid)
        if order.empty is not None:
            x = x.masked_fill(order.empty, 0)
        bias = self.bias()
        folded = x.unflatten(1, (bias.shape[-1], -1))  # b places windows d
        count = folded.shape[2]
        # by itself each, as windows and heads of the fused three do not make one axis
        biases = (None,) * 3 if self.qkv.bias is None else self.qkv.bias.chunk(3)  # pyright: ignore[reportUnnecessaryComparison]
        q, k, v = (
            split_heads(F.linear(folded, weight, part).flatten(2), count * self.num_heads)
            for weight, part in zip(self.qkv.weight.chunk(3), biases, strict=True)
        )
        if order.seams is None:
            bias = bias.expand(count, -1, -1, -1)
        else:
            bias = bias + order.seams[:, None].to(bias)
        mixed = merge_heads(self.attend(q, k, v, bias.flatten(0, 1)[None]))
        return self.drop(self.proj(mixed.reshape(x.shape)))


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
        self, merge: nn.Module | None, windows: list[Windows], blocks: list[Block]
    ) -> None:
        super().__init__()
        self.merge = merge
        self.windows = nn.ModuleList(windows)  # plain and shifted, in turn
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Return the stage's tokens, row by row, and their grid.

        Between blocks they stand in the order of windows: one copy takes them from a block's
        into the next one's, where others reverse, roll and partition.
        """
        if self.merge is not None:
            x, grid = self.merge(x, grid)
        order = READING
        for i, block in enumerate(self.blocks):
            old, order = order, self.windows[i % 2](x, grid)
            x = block(reorder(x, old, order), grid)
        return reorder(x, order, READING), grid


class Swin(Backbone):
    """Four stages of window attention, each at half the resolution of the one before.

    Args:
        config: the sizes.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        c = self.config = config
        dims = [c.embed_dim * 2**i for i in range(len(c.depth))]
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))

        def block(dim: int, heads: int, windows: Windows) -> Block:
            attn = WindowAttention(dim, heads, windows, bias=c.qkv_bias, drop=c.drop_rate)
            mlp = Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate)
            return Block(dim, attn, mlp, drop_path=next(rates), eps=1e-5)

        self.stem = Stem(c)
        self.stages = nn.ModuleList()
        for i, dim in enumerate(dims):
            windows = [
                Windows(c.grids[i], c.windows[i], shifted=shifted, tiling=c.tiling)
                for shifted in (False, True)
            ]
            blocks = [block(dim, c.num_heads[i], windows[j % 2]) for j in range(c.depth[i])]
            self.stages.append(Stage(PatchMerging(dim // 2) if i else None, windows, blocks))
        self.norm = nn.LayerNorm(dims[-1])
        steps = [c.patch_size * 2**i for i in range(len(dims))]
        self.levels = (
            *(Level(f"stages.{i}", dims[i], (s, s)) for i, s in enumerate(steps)),
            Level("final", dims[-1], (steps[-1], steps[-1])),
        )
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
        kinds = (Stem, PatchMerging, Block)
        return [*(part for part in self.modules() if isinstance(part, kinds)), self.norm]
