"""CvT: the Convolutional vision Transformer.

Paper      Wu et al., "CvT: Introducing Convolutions to Vision Transformers", ICCV 2021,
           arXiv:2103.15808
Reference  github.com/microsoft/CvT, lib/models/cls_cvt.py
Departures none; transformers runs the same weights with the exact GELU (`act`)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import mul
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Attend,
    Block,
    ClassToken,
    ConvEmbed,
    Grid,
    Layout,
    Mixer,
    Mlp,
    Normed,
    QuickGELU,
    Stage,
    StridedDepthwise,
    admit,
    in_depth,
    merge_heads,
    ramp,
    split_heads,
    to_map,
    to_tokens,
    truncated,
    whole,
)
from patchword.weights import Format, Rule, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Last, Must, Ours, Same, Uniform


@dataclass(frozen=True, kw_only=True)
class CvTConfig:
    """Table 2 of the paper; what is a tuple has an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; others are read as well
    patch_size: tuple[int, ...] = (7, 3, 3)  # pixels, then cells of the stage before, per side
    stride: tuple[int, ...] = (4, 2, 2)  # between patches, which overlap
    padding: tuple[int, ...] = (2, 1, 1)  # zeros around the map that they are cut from
    kv_stride: int = 2  # cells per side that a key stands for
    in_chans: int = 3  # channels of an image
    embed_dim: tuple[int, ...] = (64, 192, 384)  # channels of a token
    depth: tuple[int, ...] = (1, 2, 10)  # blocks
    num_heads: tuple[int, ...] = (1, 3, 6)
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    act: Literal["quick", "exact"] = "quick"  # how the MLP computes its GELU
    drop_rate: float = 0.0  # dropout: before the blocks, after each projection and MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; 0 up to its stage's first
    norm_eps: float = 1e-5

    def build(self) -> "CvT":
        """Make the backbone, with fresh weights."""
        return CvT(self)


CVT_13 = CvTConfig()
CVT_21 = CvTConfig(depth=(1, 4, 16))
CVT_W24 = CvTConfig(embed_dim=(192, 768, 1024), depth=(2, 2, 20), num_heads=(3, 12, 16))

VARIANTS = {
    "cvt_13": CVT_13,
    "cvt_13_384": replace(CVT_13, image_size=(384, 384)),
    "cvt_21": CVT_21,
    "cvt_21_384": replace(CVT_21, image_size=(384, 384)),
    "cvt_w24_384": replace(CVT_W24, image_size=(384, 384)),
    "cvt_mini_32": CvTConfig(
        image_size=(32, 32),
        patch_size=(3, 3),
        stride=(2, 2),
        padding=(1, 1),
        embed_dim=(64, 128),
        depth=(1, 3),
        num_heads=(1, 4),
    ),  # ours, for small pictures
}

CLAIMS = {
    "cvt_13": Claim(params=20.0, macs=4.57, top1=81.6, source="README"),
    "cvt_13_384": Claim(params=20.0, top1=83.0, source="README"),
    "cvt_21": Claim(params=31.62, macs=7.18, top1=82.5, source="README"),
    "cvt_21_384": Claim(params=31.62, top1=83.3, source="README"),
    "cvt_w24_384": Claim(params=277.0, macs=193.2, top1=87.6, source="README, from ImageNet-22k"),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

PARTS = ("query", "key", "value")
PROJECTION = "convolution_projection"
FORMATS = (
    Format(
        "authors",
        Rule("stage#.cls_token", "stages.#.embed.class_token.token"),
        Rule("stage#.patch_embed.*", "stages.#.embed.*"),
        *(
            Rule(
                f"stage#.blocks.#.attn.conv_proj_{part}.conv.weight",
                f"stages.#.blocks.#.attn.conv_proj_{part}.linear.weight",
            )
            for part in "qkv"
        ),
        Rule("stage#.blocks.*", "stages.#.blocks.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
    ),
    Format(
        "transformers",
        *within(
            "encoder.stages.#",
            "stages.#",
            Rule("cls_token", "embed.class_token.token"),
            *within(
                "embedding.convolution_embeddings",
                "embed",
                *modules({"projection": "proj", "normalization": "norm"}),
            ),
            *within(
                "layers.#.attention",
                "blocks.#.attn",
                *(
                    rule
                    for part in PARTS
                    for rule in within(
                        f"attention.{PROJECTION}_{part}.{PROJECTION}",
                        f"conv_proj_{part[0]}",
                        *modules({"convolution": "linear", "normalization": "bn"}),
                    )
                ),
                *modules({f"attention.projection_{part}": f"proj_{part[0]}" for part in PARTS}),
                Rule("output.dense.*", "proj.*"),
            ),
            *within(
                "layers.#",
                "blocks.#",
                *modules({"layernorm_before": "norm1", "layernorm_after": "norm2"}),
                *modules({"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}),
            ),
        ),
        head=(  # their last norm stands outside the backbone
            Rule("layernorm.*", "backbone.norm.*"),
            Rule("classifier.*", "head.label.*"),
        ),
        root=("cvt.",),
    ),
)

CONFIGS = (
    Kind(
        "cvt",
        "CvtForImageClassification",
        (
            Same("num_channels", "in_chans", 3),
            Same("patch_sizes", "patch_size"),
            Same("patch_stride", "stride"),
            Same("patch_padding", "padding"),
            Same("embed_dim", "embed_dim"),
            Same("num_heads", "num_heads"),
            Same("depth", "depth"),
            Uniform("mlp_ratio", "mlp_ratio"),
            Uniform("stride_kv", "kv_stride"),
            Uniform("drop_rate", "drop_rate"),
            Last("drop_path_rate", "drop_path_rate", 0.0),
            Last("cls_token", None, False, True),
            Must(
                "depth",
                lambda depth: all(blocks > i for i, blocks in enumerate(depth)),
                "more blocks in a stage than stages before it",
            ),
            Ours("act", "exact"),
            Ours("norm_eps", 1e-5),  # whatever their file says
            Uniform("attention_drop_rate", value=0.0),
            Uniform("qkv_bias", value=True),
            Uniform("qkv_projection_method", value="dw_bn"),
            Uniform("kernel_qkv", value=3),
            Uniform("padding_kv", value=1),
            Uniform("padding_q", value=1),
            Uniform("stride_q", value=1),
        ),
        unread=("initializer_range", "layer_norm_eps"),
    ),
)


def near(dim: int, stride: int) -> Normed:
    """Make what queries, keys or values are projected from: each cell with its neighbours (3.2)."""
    return Normed(StridedDepthwise(dim, dim, 3, stride, bias=False))


class ConvAttention(Mixer):
    """Attention whose queries, keys and values are convolved first; a class token is not.

    Scores are divided by the root of all the channels, not of a head's (in the authors' code).
    """

    def __init__(self, dim: int, num_heads: int, kv_stride: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads, self.kv_stride = num_heads, kv_stride
        self.conv_proj_q = near(dim, 1)
        self.conv_proj_k = near(dim, kv_stride)
        self.conv_proj_v = near(dim, kv_stride)
        self.proj_q, self.proj_k, self.proj_v = (nn.Linear(dim, dim) for _ in range(3))
        self.attend = Attend(scale=dim**-0.5)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix tokens.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: answer for the first k tokens alone, none of them a cell; for all n where it
                is None.
        """
        cells = to_map(x, grid).contiguous(memory_format=torch.channels_last)
        token = x[:, : x.shape[1] - grid[0] * grid[1]]

        def read(project: nn.Module) -> Tensor:
            found = to_tokens(project(cells))
            return torch.cat([token, found], dim=1) if token.shape[1] else found

        q = self.proj_q(read(self.conv_proj_q) if queries is None else token[:, :queries])
        k, v = self.proj_k(read(self.conv_proj_k)), self.proj_v(read(self.conv_proj_v))
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v))))

    def layout(self, x: Tensor, grid: Grid, queries: int | None = None) -> Layout:
        """Return where queries and keys lie; strided keys lie on a grid of their own."""
        fewer = tuple(-(-side // self.kv_stride) for side in grid)
        return whole(x.shape[1], grid, queries, fewer)


class TokenEmbed(ConvEmbed):
    """From the stage before, or from an image, to a stage's tokens (section 3.1)."""

    def __init__(self, config: CvTConfig, stage: int) -> None:
        c, i = config, stage
        dim_in, dim = (c.in_chans, *c.embed_dim)[i : i + 2]
        super().__init__(dim_in, dim, c.patch_size[i], c.stride[i], c.padding[i], eps=c.norm_eps)
        self.class_token = ClassToken(dim) if i + 1 == len(c.depth) else nn.Identity()
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b c rows columns"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return a token per patch, in the last stage after the class token, and their grid."""
        x, grid = super().forward(x)
        return self.drop(self.class_token(x)), grid


def stage(config: CvTConfig, number: int) -> Stage:
    """Make the blocks at one resolution (figure 2), and the embedding that leads to it."""
    c, i, dim, last = config, number, config.embed_dim[number], number + 1 == len(config.depth)
    act = QuickGELU if c.act == "quick" else nn.GELU
    blocks = (
        Block(
            dim,
            ConvAttention(dim, c.num_heads[i], c.kv_stride, drop=c.drop_rate),
            Mlp(dim, int(dim * c.mlp_ratio), act=act, drop=c.drop_rate),
            drop_path=rate,
            eps=c.norm_eps,
        )
        for rate in ramp(c.drop_path_rate if last else 0.0, c.depth[i])
    )
    return Stage(TokenEmbed(c, i), blocks)


class CvT(Backbone):
    """Stages of blocks on ever coarser grids, without positions, the last with a class token."""

    class_tokens = 1

    def __init__(self, config: CvTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stages = nn.ModuleList(stage(c, i) for i in range(len(c.depth)))
        self.width, self.head_std = c.embed_dim[-1], 0.02
        self.norm = nn.LayerNorm(self.width, c.norm_eps)
        self.levels = stage_levels(c.embed_dim, accumulate(c.stride, mul), (1,))
        last = f"stages.{len(c.depth) - 1}.blocks.{c.depth[-1] - 1}"
        self.silent = (f"{last}.attn.conv_proj_q.*",)  # the class token's query is not convolved
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        admit(images, self.config.in_chans)
        trace = Trace(self, taps)
        images = images.contiguous(memory_format=torch.channels_last)  # as every later map is
        whole = bool(taps) or self.training  # in training every batch norm keeps its statistics
        x, grid = trace.stages(self.stages, images, None if whole else 1)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding and blocks in turn, and the last norm."""
        return [*in_depth(self.stages), self.norm]
