"""LeViT: stages of attention that is itself what halves the grid, all norms such as fold away.

Paper      Graham et al., "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
           ICCV 2021, arXiv:2104.01136
Reference  github.com/facebookresearch/LeViT, levit.py; timm's levit.py
Departures none
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import accumulate, chain, count, pairwise
from math import prod
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
    Layout,
    Mixer,
    Normed,
    OffsetTable,
    Standing,
    StochasticDepth,
    admit,
    by_index,
    cells,
    fold,
    fold_into,
    merge_heads,
    split_heads,
    to_tokens,
    whole,
)
from patchword.weights import POINTWISE, Format, Rule, Rules, View, modules, normed, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Must, Only, Ours, Same, Sides, Uniform


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


def places(config: LeViTConfig) -> Iterator[tuple[int, int, int]]:
    """Yield the number of each block, its stage, and its row there; -1 if it leads there."""
    numbers = count()
    for stage, depth in enumerate(config.depth):
        for row in range(-1 if stage else 0, depth):
            yield next(numbers), stage, row


def timm_format(name: str, view: View) -> Format:
    """Return timm's names, by stage; `view` is of the blocks' linear maps."""
    parts = {"qkv": "branch.qkv", "proj.ln": "branch.proj"}
    leads = {"kv": "kv", "q.ln": "q", "proj.ln": "proj"}
    block = (
        *within("attn", "attn", *normed(parts, "linear", "bn", view)),
        *within("attn_downsample", "shrink", *normed(leads, "linear", "bn", view)),
        *normed({"mlp.ln1": "mlp.branch.fc1", "mlp.ln2": "mlp.branch.fc2"}, "linear", "bn", view),
        Rule("attn.attention_biases", "attn.branch.bias.table"),
        Rule("attn_downsample.attention_biases", "shrink.bias.table"),
    )
    return Format(
        name,
        *normed({"stem.conv{#+1}": "stem.convs.{2#}"}, "linear", "bn"),
        *modules({"head.bn": "norms.label", "head_dist.bn": "norms.distillation"}),
        head=modules({"head.linear": "head.label", "head_dist.linear": "head.distillation"}),
        placed=lambda config: [
            rule
            for number, stage, row in places(config)
            for rule in within(
                f"stages.{stage}.{'downsample' if row < 0 else f'blocks.{row}'}",
                f"blocks.{number}",
                *block,
            )
        ],
    )


def transformers_rules(config: LeViTConfig) -> Rules:
    """Return transformers' names of blocks: a stage of theirs ends in what leads to the next."""
    within_stage = {"queries_keys_values": "qkv", "projection": "proj"}
    leading = {"keys_values": "kv", "queries": "q", "projection": "proj"}
    mlp = normed({"linear_up": "fc1", "linear_down": "fc2"}, "linear", "batch_norm")
    rules: Rules = ()
    for number, stage, row in places(config):
        leads = row < 0
        layers = f"encoder.stages.{stage - leads}.layers"
        layer = 2 * (config.depth[stage - 1] if leads else row)
        rules += within(
            f"{layers}.{layer}" if leads else f"{layers}.{layer}.module",
            f"blocks.{number}.shrink" if leads else f"blocks.{number}.attn.branch",
            *normed(leading if leads else within_stage, "linear", "batch_norm"),
            Rule("attention_biases", "bias.table"),
        )
        rules += within(f"{layers}.{layer + 1}.module", f"blocks.{number}.mlp.branch", *mlp)
    return rules


def authors_format(name: str, make: Callable[..., Rules], norms: Rules, *, head: Rules) -> Format:
    """Return the authors' names, where a branch is `m`; `make` is of rules about linear maps."""
    linear = {
        "patch_embed.#": "stem.convs.#",
        "blocks.{2#}.m.qkv": "blocks.#.attn.branch.qkv",
        "blocks.{2#}.m.proj.1": "blocks.#.attn.branch.proj",
        "blocks.{2#}.kv": "blocks.#.shrink.kv",
        "blocks.{2#}.q.1": "blocks.#.shrink.q",
        "blocks.{2#}.proj.1": "blocks.#.shrink.proj",
        "blocks.{2#+1}.m.0": "blocks.#.mlp.branch.fc1",
        "blocks.{2#+1}.m.2": "blocks.#.mlp.branch.fc2",
    }
    return Format(
        name,
        *make(linear),
        Rule("blocks.{2#}.m.attention_biases", "blocks.#.attn.branch.bias.table"),
        Rule("blocks.{2#}.attention_biases", "blocks.#.shrink.bias.table"),
        *norms,
        head=head,
        ignore=("blocks.*.attention_bias_idxs",),
        derived=lambda config: {
            f"blocks.{2 * number}.{'' if row < 0 else 'm.'}attention_bias_idxs": AbsoluteBias(
                grids(config)[stage - (row < 0)], 1, stride=2 if row < 0 else 1
            ).index
            for number, stage, row in places(config)
        },
    )


FORMATS = (
    timm_format("timm", View(POINTWISE.load, lambda matrix: matrix)),  # reads either
    timm_format("timm conv", POINTWISE),
    Format(
        "transformers",
        *normed(
            {"patch_embeddings.embedding_layer_{#+1}": "stem.convs.{2#}"},
            "convolution",
            "batch_norm",
        ),
        head=modules(
            {
                "classifier.batch_norm": "backbone.norms.label",
                "classifier_distill.batch_norm": "backbone.norms.distillation",
                "classifier.linear": "head.label",
                "classifier_distill.linear": "head.distillation",
            }
        ),
        root=("levit.",),
        placed=transformers_rules,
    ),
    authors_format(
        "authors",
        lambda names: normed(names, "c", "bn"),
        modules({"head.bn": "norms.label", "head_dist.bn": "norms.distillation"}),
        head=modules({"head.l": "head.label", "head_dist.l": "head.distillation"}),
    ),
)

CONFIGS = tuple(
    Kind(
        "levit",
        f"LevitForImageClassification{teacher}",
        (
            Same("num_channels", "in_chans", 3),
            Same("hidden_sizes", "embed_dim"),
            Same("num_attention_heads", "num_heads"),
            Same("depths", "depth"),
            Uniform("key_dim", "key_dim"),
            Same("drop_path_rate", "drop_path_rate", 0),
            Sides(square=True),
            Must("image_size", lambda sides: sides[0] % 16 == 0, "a multiple of 16"),
            Must("depth", lambda depth: len(depth) == 3, "three stages"),
            Ours("readouts", readouts),
            Ours("stem", 4),
            Ours("act", "hard_swish"),
            Ours("mlp_ratio", 2.0),
            Uniform("mlp_ratio", value=2),
            Uniform("attention_ratio", value=2),
            Only("patch_size", 16),
            Only("kernel_size", 3),
            Only("stride", 2),
            Only("padding", 1),
        ),
        unread=("initializer_range",),
    )
    for teacher, readouts in (("WithTeacher", ["label", "distillation"]), ("", ["label"]))
)

FUSED: Format = authors_format(  # their names of a network after `fused`
    "authors fused",
    modules,
    (),
    head=modules({"head": "head.label", "head_dist": "head.distillation"}),
)


class AbsoluteBias(OffsetTable, Standing):
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


class Attention(Mixer):
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

    def layout(self, x: Tensor) -> Layout:
        """Return where queries and keys lie: all cells."""
        return whole(x.shape[1], self.bias.reach)


class Shrink(Mixer):
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

    def layout(self, x: Tensor) -> Layout:
        """Return where queries lie, on a grid of half the cells along each axis, and keys."""
        halved = tuple(-(-side // 2) for side in self.grid)
        return whole(prod(halved), halved, key_grid=self.grid)


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
        first, *others = (
            Normed(nn.Conv2d(dim, wider, 3, stride=2, padding=1, bias=False))
            for dim, wider in pairwise(widths)
        )
        self.convs = nn.Sequential(first, *chain(*((ACTS[c.act](), conv) for conv in others)))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Return the cells, row by row."""
        admit(images, self.config.in_chans, self.config.image_size)
        return to_tokens(self.convs(images))


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
