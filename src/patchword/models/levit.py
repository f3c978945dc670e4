"""LeViT: stages of attention that is itself what halves the grid, all norms such as fold away.

Paper      Graham et al., "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
           ICCV 2021, arXiv:2104.01136
Reference  github.com/facebookresearch/LeViT, levit.py; timm's levit.py
Departures none
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Attend,
    Grid,
    Normed,
    OffsetTable,
    StochasticDepth,
    admit,
    by_index,
    cells,
    fold,
    fold_into,
    merge_heads,
    split_heads,
    to_tokens,
)
from patchword.weights import POINTWISE, Format, Rule, View, counted, normed


@dataclass(frozen=True, kw_only=True)
class LeViTConfig:
    """Table 2 of the paper; what differs between stages is a tuple."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; attention biases are made for these
    in_chans: int = 3
    stem: int = 4  # 3x3 convolutions, each of stride 2 and of twice the channels of the one before
    embed_dim: tuple[int, ...] = (128, 256, 384)
    depth: tuple[int, ...] = (4, 4, 4)  # pairs of attention and MLP
    num_heads: tuple[int, ...] = (4, 8, 12)
    key_dim: int = 16  # channels of a head's queries and keys; its values have twice as many
    mlp_ratio: float = 2.0
    act: Literal["hard_swish", "silu"] = "hard_swish"
    readouts: tuple[Literal["label", "distillation"], ...] = ("label", "distillation")
    drop_path_rate: float = 0.0  # stochastic depth, the same in all blocks

    def build(self) -> "LeViT":
        """Make the backbone, with fresh weights."""
        return LeViT(self)


LEVIT_128S = LeViTConfig(depth=(2, 3, 4), num_heads=(4, 6, 8))
LEVIT_192 = LeViTConfig(embed_dim=(192, 288, 384), num_heads=(3, 5, 6), key_dim=32)
LEVIT_256 = LeViTConfig(embed_dim=(256, 384, 512), num_heads=(4, 6, 8), key_dim=32)
LEVIT_384 = LeViTConfig(embed_dim=(384, 512, 768), num_heads=(6, 9, 12), key_dim=32)
LEVIT_384_S8 = replace(LEVIT_384, stem=3, act="silu")
LEVIT_256D = replace(LEVIT_256, depth=(4, 8, 6), act="silu", readouts=("label",))
LEVIT_512D = replace(LEVIT_256D, embed_dim=(512, 640, 768), num_heads=(8, 10, 12), key_dim=64)
LEVIT_512 = replace(LEVIT_512D, embed_dim=(512, 768, 1024), num_heads=(8, 12, 16), depth=(4, 4, 4))
LEVIT_512_S8 = replace(LEVIT_512, embed_dim=(512, 640, 896), num_heads=(8, 10, 14), stem=3)

VARIANTS = {
    "levit_128s": LEVIT_128S,
    "levit_128": LeViTConfig(),
    "levit_192": LEVIT_192,
    "levit_256": LEVIT_256,
    "levit_384": LEVIT_384,
    "levit_384_s8": LEVIT_384_S8,
    "levit_512_s8": LEVIT_512_S8,
    "levit_512": LEVIT_512,
    "levit_256d": LEVIT_256D,
    "levit_512d": LEVIT_512D,
    # timm's names of the same networks where their linear maps are kept as 1x1 convolutions
    "levit_conv_128s": LEVIT_128S,
    "levit_conv_128": LeViTConfig(),
    "levit_conv_192": LEVIT_192,
    "levit_conv_256": LEVIT_256,
    "levit_conv_384": LEVIT_384,
    "levit_conv_384_s8": LEVIT_384_S8,
    "levit_conv_512_s8": LEVIT_512_S8,
    "levit_conv_512": LEVIT_512,
    "levit_conv_256d": LEVIT_256D,
    "levit_conv_512d": LEVIT_512D,
}

CLAIMS = {
    "levit_128s": Claim(params=7.78, macs=0.305, top1=76.6),
    "levit_128": Claim(params=9.21, macs=0.405, top1=78.6),
    "levit_192": Claim(params=10.95, macs=0.657, top1=80.0),
    "levit_256": Claim(params=18.89, macs=1.127, top1=81.6),
    "levit_384": Claim(params=39.13, macs=2.352, top1=82.6),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


ACTS = {"hard_swish": nn.Hardswish, "silu": nn.SiLU}
Heads = tuple[int, int, int]  # how many; channels of each query or key, and of each value


FORMATS = (
    *(
        Format(
            project,
            *normed({f"stem.convs.{i}": f"stem.conv{i + 1}" for i in range(4)}, "linear", "bn"),
            *normed(
                {
                    "blocks.#.attn.branch.qkv": "blocks.#.attn.qkv",
                    "blocks.#.attn.branch.proj": "blocks.#.attn.proj.ln",
                    "blocks.#.shrink.kv": "blocks.#.attn_downsample.kv",
                    "blocks.#.shrink.q": "blocks.#.attn_downsample.q.ln",
                    "blocks.#.shrink.proj": "blocks.#.attn_downsample.proj.ln",
                    "blocks.#.mlp.branch.fc1": "blocks.#.mlp.ln1",
                    "blocks.#.mlp.branch.fc2": "blocks.#.mlp.ln2",
                },
                "linear",
                "bn",
                view,
            ),
            Rule("blocks.#.attn.attention_biases", "blocks.#.attn.branch.bias.table"),
            Rule("blocks.#.attn_downsample.attention_biases", "blocks.#.shrink.bias.table"),
            Rule("head.bn.*", "norms.label.*"),
            Rule("head_dist.bn.*", "norms.distillation.*"),
            head=(
                Rule("head.linear.*", "head.label.*"),
                Rule("head_dist.linear.*", "head.distillation.*"),
            ),
            count=counted(
                r"stages\.\d+\.(?:blocks\.\d+|downsample)\.",
                lambda place, _: (
                    f"stages.{place.stage}.downsample."
                    if place.row < 0
                    else f"stages.{place.stage}.blocks.{place.row}."
                ),
                leads=r"blocks\.(\d+)\.attn_downsample\.",
            ),
        )
        for project, view in (
            ("timm", View(POINTWISE.load, lambda matrix: matrix)),  # reads either
            ("timm conv", POINTWISE),
        )
    ),
    Format(
        "transformers",
        *normed(
            {f"stem.convs.{i}": f"patch_embeddings.embedding_layer_{i + 1}" for i in range(4)},
            "convolution",
            "batch_norm",
        ),
        *normed(
            {
                "blocks.#.attn.branch.qkv": "blocks.#.attn.module.queries_keys_values",
                "blocks.#.attn.branch.proj": "blocks.#.attn.module.projection",
                "blocks.#.shrink.kv": "blocks.#.attn.keys_values",
                "blocks.#.shrink.q": "blocks.#.attn.queries",
                "blocks.#.shrink.proj": "blocks.#.attn.projection",
                "blocks.#.mlp.branch.fc1": "blocks.#.mlp.module.linear_up",
                "blocks.#.mlp.branch.fc2": "blocks.#.mlp.module.linear_down",
            },
            "linear",
            "batch_norm",
        ),
        Rule("blocks.#.attn.module.attention_biases", "blocks.#.attn.branch.bias.table"),
        Rule("blocks.#.attn.attention_biases", "blocks.#.shrink.bias.table"),
        head=(
            Rule("classifier.batch_norm.*", "backbone.norms.label.*"),
            Rule("classifier_distill.batch_norm.*", "backbone.norms.distillation.*"),
            Rule("classifier.linear.*", "head.label.*"),
            Rule("classifier_distill.linear.*", "head.distillation.*"),
        ),
        root=("levit.",),
        count=counted(
            r"encoder\.stages\.\d+\.layers\.\d+\.",
            lambda place, half: (
                f"encoder.stages.{place.stage - 1}.layers.{2 * place.before + half}."
                if place.row < 0
                else f"encoder.stages.{place.stage}.layers.{2 * place.row + half}."
            ),
            leads=r"blocks\.(\d+)\.attn\.keys_values\.",
            halves=(".attn", ".mlp"),
        ),
    ),
    Format(
        "authors",
        *normed({f"stem.convs.{i}": f"patch_embed.{2 * i}" for i in range(4)}, "c", "bn"),
        *normed(
            {
                "blocks.#.attn.branch.qkv": "blocks.#.attn.m.qkv",
                "blocks.#.attn.branch.proj": "blocks.#.attn.m.proj.1",
                "blocks.#.shrink.kv": "blocks.#.attn.kv",
                "blocks.#.shrink.q": "blocks.#.attn.q.1",
                "blocks.#.shrink.proj": "blocks.#.attn.proj.1",
                "blocks.#.mlp.branch.fc1": "blocks.#.mlp.m.0",
                "blocks.#.mlp.branch.fc2": "blocks.#.mlp.m.2",
            },
            "c",
            "bn",
        ),
        Rule("blocks.#.attn.m.attention_biases", "blocks.#.attn.branch.bias.table"),
        Rule("blocks.#.attn.attention_biases", "blocks.#.shrink.bias.table"),
        Rule("head.bn.*", "norms.label.*"),
        Rule("head_dist.bn.*", "norms.distillation.*"),
        head=(Rule("head.l.*", "head.label.*"), Rule("head_dist.l.*", "head.distillation.*")),
        ignore=("blocks.*.attention_bias_idxs",),
        derived=lambda config: {
            f"blocks.{2 * i}.{place}attention_bias_idxs": AbsoluteBias(grid, 1, stride=step).index
            for maps in [grids(config)]
            for i, (place, grid, step) in enumerate(
                attention
                for stage, depth in enumerate(config.depth)
                for attention in (
                    *([("", maps[stage - 1], 2)] if stage else []),
                    *[("m.", maps[stage], 1)] * depth,
                )
            )
        },
        count=counted(
            r"blocks\.\d+\.",
            lambda place, half: f"blocks.{2 * place.number + half}.",
            leads=r"blocks\.(\d+)\.attn\.kv\.",
            halves=(".attn", ".mlp"),
        ),
    ),
)

FUSED = Format(
    "authors fused",
    *(Rule(f"patch_embed.{2 * i}.*", f"stem.convs.{i}.*") for i in range(4)),
    Rule("blocks.#.attn.m.qkv.*", "blocks.#.attn.branch.qkv.*"),
    Rule("blocks.#.attn.m.proj.1.*", "blocks.#.attn.branch.proj.*"),
    Rule("blocks.#.attn.m.attention_biases", "blocks.#.attn.branch.bias.table"),
    Rule("blocks.#.attn.kv.*", "blocks.#.shrink.kv.*"),
    Rule("blocks.#.attn.q.1.*", "blocks.#.shrink.q.*"),
    Rule("blocks.#.attn.proj.1.*", "blocks.#.shrink.proj.*"),
    Rule("blocks.#.attn.attention_biases", "blocks.#.shrink.bias.table"),
    Rule("blocks.#.mlp.m.0.*", "blocks.#.mlp.branch.fc1.*"),
    Rule("blocks.#.mlp.m.2.*", "blocks.#.mlp.branch.fc2.*"),
    head=(Rule("head.*", "head.label.*"), Rule("head_dist.*", "head.distillation.*")),
    ignore=("blocks.*.attention_bias_idxs",),
    derived=FORMATS[-1].derived,
    count=FORMATS[-1].count,
)
"""The authors' names of a network after `fused`, which has other tensors."""


class AbsoluteBias(OffsetTable):
    """A learned number per head and absolute offset, numbered as cells are (section 4.2)."""

    def __init__(self, grid: Grid, heads: int, *, stride: int = 1) -> None:
        super().__init__()
        self.reach = grid
        self.table = nn.Parameter(torch.zeros(heads, grid[0] * grid[1]))
        keys = cells(grid)
        queries = keys.unflatten(0, grid)[::stride, ::stride].flatten(0, 1)
        down, across = (queries[:, None] - keys).abs().unbind(-1)
        self.register_buffer("index", down * grid[1] + across, persistent=False)

    index: Tensor

    def forward(self) -> Float[Tensor, "heads n m"]:
        """Return the bias of every query to every key."""
        return by_index(self.table.T, self.index)

    def at(self, reach: Grid) -> Float[Tensor, "heads offsets"]:
        """Return the table for another grid (bicubic); the offset 0 keeps its own."""
        table = self.table.unflatten(1, self.reach)[None]
        return F.interpolate(table, reach, mode="bicubic", align_corners=True)[0].flatten(1)


def grids(config: LeViTConfig) -> list[Grid]:
    """Return the cells of each stage; every halving of a side rounds up."""
    halvings = [config.stem + stage for stage in range(len(config.depth))]
    return [tuple(-(-side // 2**times) for side in config.image_size) for times in halvings]


class Attention(nn.Module):
    """Attention with biases for positions; its values are activated before they are projected."""

    def __init__(self, dim: int, heads: Heads, grid: Grid, act: nn.Module) -> None:
        super().__init__()
        self.heads = num, key, value = heads
        self.qkv = Normed(nn.Linear(dim, num * (2 * key + value), bias=False))
        self.bias = AbsoluteBias(grid, num)
        self.attend, self.act = Attend(), act
        self.proj = Normed(nn.Linear(num * value, dim, bias=False), scale=0.0)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Mix the cells."""
        num, key, value = self.heads
        q, k, v = split_heads(self.qkv(x), num).split((key, key, value), dim=-1)
        return self.proj(self.act(merge_heads(self.attend(q, k, v, self.bias()))))


class Shrink(nn.Module):
    """Attention from every second cell of each axis to all, which halves the grid (figure 5)."""

    def __init__(self, dim: int, wider: int, heads: Heads, grid: Grid, act: nn.Module) -> None:
        super().__init__()
        self.grid = grid
        self.heads = num, key, value = heads
        self.kv = Normed(nn.Linear(dim, num * (key + value), bias=False))
        self.q = Normed(nn.Linear(dim, num * key, bias=False))
        self.bias = AbsoluteBias(grid, num, stride=2)
        self.attend, self.act = Attend(), act
        self.proj = Normed(nn.Linear(num * value, wider, bias=False))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b m e"]:
        """Mix the cells into fewer."""
        num, key, value = self.heads
        k, v = split_heads(self.kv(x), num).split((key, value), dim=-1)
        q = split_heads(self.q(x.unflatten(1, self.grid)[:, ::2, ::2].flatten(1, 2)), num)
        return self.proj(self.act(merge_heads(self.attend(q, k, v, self.bias()))))


class Residual(nn.Module):
    """x + branch(x); no norm stands before a branch, as its linear maps have their own."""

    def __init__(self, branch: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.branch, self.drop_path = branch, StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Go around the branch."""
        return x + self.drop_path(self.branch(x))


class Stem(nn.Module):
    """Convolutions that halve the sides and double the channels, with activations between."""

    def __init__(self, config: LeViTConfig) -> None:
        super().__init__()
        c = self.config = config
        widths = [c.in_chans, *(c.embed_dim[0] >> i for i in reversed(range(c.stem)))]
        self.convs = nn.ModuleList(
            Normed(nn.Conv2d(dim, wider, 3, stride=2, padding=1, bias=False))
            for dim, wider in pairwise(widths)
        )
        self.act = ACTS[c.act]()

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Return the cells, row by row."""
        admit(images, self.config.in_chans, self.config.image_size)
        x = images
        for i, conv in enumerate(self.convs):
            x = conv(self.act(x) if i else x)
        return to_tokens(x)


class LeViT(Backbone):
    """Stages of attention and MLP, each on a quarter of the cells of the one before."""

    def __init__(self, config: LeViTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = Stem(c)
        self.grids = grids(c)
        self.blocks = nn.ModuleList(blocks(c))
        self.norm = nn.Identity()  # the last stage leaves as it is
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(c.embed_dim[-1]) for name in c.readouts})
        self.levels = stage_levels(c.embed_dim, [2 ** (c.stem + i) for i in range(len(c.depth))])
        self.readouts, self.head_std = c.readouts, 0.02
        self.width = c.embed_dim[-1] * len(c.readouts)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`, which is the last one."""
        trace = Trace(self, taps)
        x = self.stem(images)
        ends = {total - 1 + i: i for i, total in enumerate(accumulate(self.config.depth))}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in ends:
                trace.tokens(f"stages.{ends[i]}", x, self.grids[ends[i]])
        trace.tokens("final", x, self.grids[-1])
        mean = x.mean(dim=1)
        return trace.features(torch.cat([norm(mean) for norm in self.norms.values()], dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks, and the batch norms before the heads."""
        return [self.stem, *self.blocks, self.norms]


def blocks(config: LeViTConfig) -> Iterator[nn.Module]:
    """Make the blocks of all stages, each stage after the block that leads to it."""
    c, act = config, ACTS[config.act]

    def mlp(dim: int, ratio: float) -> nn.Module:
        fc1 = Normed(nn.Linear(dim, int(dim * ratio), bias=False))
        fc2 = Normed(nn.Linear(int(dim * ratio), dim, bias=False), scale=0.0)
        return Residual(nn.Sequential(OrderedDict(fc1=fc1, act=act(), fc2=fc2)), c.drop_path_rate)

    for stage, (dim, grid) in enumerate(zip(c.embed_dim, grids(c), strict=True)):
        if stage:
            narrow = c.embed_dim[stage - 1]
            heads = (narrow // c.key_dim, c.key_dim, 4 * c.key_dim)
            shrink = Shrink(narrow, dim, heads, grids(c)[stage - 1], act())
            yield nn.Sequential(OrderedDict(shrink=shrink, mlp=mlp(dim, 2.0)))
        heads = (c.num_heads[stage], c.key_dim, 2 * c.key_dim)
        for _ in range(c.depth[stage]):
            attn = Residual(Attention(dim, heads, grid, act()), c.drop_path_rate)
            yield nn.Sequential(OrderedDict(attn=attn, mlp=mlp(dim, c.mlp_ratio)))


def fused(backbone: LeViT, heads: Mapping[str, nn.Linear]) -> tuple[LeViT, dict[str, nn.Linear]]:
    """Return copies for inference: each batch norm folded into the map beside it, or a head."""
    backbone, heads = deepcopy(backbone).eval(), {n: deepcopy(h) for n, h in heads.items()}
    fold(backbone)
    for name, head in heads.items():
        fold_into(head, backbone.norms[name])
        backbone.norms[name] = nn.Identity()
    return backbone, heads
