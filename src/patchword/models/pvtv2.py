"""PVT v2: the pyramid with overlapping patches and a convolution in its MLPs.

Paper      Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer", CVMJ 2022,
           arXiv:2106.13797
Reference  github.com/whai362/PVT, classification/pvt_v2.py; names as in timm's pvt_v2.py
Departures none
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Activated,
    ConvEmbed,
    Grid,
    ReducedAttention,
    Reduction,
    Stage,
    StochasticDepth,
    StridedReduction,
    admit,
    in_depth,
    ramp,
    tiled,
    to_map,
    to_tokens,
    truncated,
)
from patchword.weights import Format, Rule, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Choice, Only, Same, Sides, Stages, Whole


@dataclass(frozen=True, kw_only=True)
class PVTv2Config:
    """Table 1 of the paper; what is a tuple has an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; others are read as well
    patch_size: tuple[int, ...] = (7, 3, 3, 3)  # pixels, then cells of the stage before, per side
    stride: tuple[int, ...] = (4, 2, 2, 2)  # between patches, which overlap
    in_chans: int = 3  # channels of an image
    embed_dim: tuple[int, ...] = (64, 128, 320, 512)  # channels of a token
    depth: tuple[int, ...] = (2, 2, 2, 2)  # blocks
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratio: tuple[float, ...] = (8.0, 8.0, 4.0, 4.0)  # hidden channels of the MLP per channel
    sr_ratio: tuple[int, ...] = (8, 4, 2, 1)  # cells per side that a key stands for (R)
    pool_size: int | None = None  # linear attention: keys per side, averaged, in every stage (P)
    drop_rate: float = 0.0  # dropout: after each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0
    norm_eps: float = 1e-6  # of the norms of blocks and stages
    reduce_norm_eps: float = 1e-5  # of the norms where cells are merged: patches, and keys

    def build(self) -> "PVTv2":
        """Make the backbone, with fresh weights."""
        return PVTv2(self)


VARIANTS = {
    "pvt_v2_b0": PVTv2Config(embed_dim=(32, 64, 160, 256)),
    "pvt_v2_b1": PVTv2Config(),
    "pvt_v2_b2": PVTv2Config(depth=(3, 4, 6, 3)),
    "pvt_v2_b3": PVTv2Config(depth=(3, 4, 18, 3)),
    "pvt_v2_b4": PVTv2Config(depth=(3, 8, 27, 3)),
    "pvt_v2_b5": PVTv2Config(depth=(3, 6, 40, 3), mlp_ratio=(4.0, 4.0, 4.0, 4.0)),
    "pvt_v2_b2_li": PVTv2Config(depth=(3, 4, 6, 3), pool_size=7),
    "pvt_v2_mini_32": PVTv2Config(
        image_size=(32, 32),
        patch_size=(3, 3, 3),
        stride=(2, 2, 2),
        embed_dim=(32, 64, 128),
        depth=(1, 2, 2),
        num_heads=(1, 2, 4),
        mlp_ratio=(4.0, 4.0, 4.0),
        sr_ratio=(4, 2, 1),
    ),  # ours, for small pictures
}

CLAIMS = {
    "pvt_v2_b0": Claim(params=3.67, macs=0.57, top1=70.5, source="README"),
    "pvt_v2_b1": Claim(params=14.01, macs=2.11, top1=78.7, source="README"),
    "pvt_v2_b2": Claim(params=25.36, macs=4.03, top1=82.0, source="README"),
    "pvt_v2_b2_li": Claim(params=22.55, macs=3.89, top1=82.1, source="README"),
    "pvt_v2_b3": Claim(params=45.24, macs=6.90, top1=83.1, source="README"),
    "pvt_v2_b4": Claim(params=62.56, macs=10.10, top1=83.6, source="README"),
    "pvt_v2_b5": Claim(params=81.96, macs=11.72, top1=83.8, source="README"),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

REDUCE = modules({"attn.sr": "attn.reduce.conv", "attn.norm": "attn.reduce.norm"})
AUTHORS = Format(
    "authors",
    Rule("norm{#+1}.*", "stages.#.norm.*"),
    Rule("patch_embed{#+1}.*", "stages.#.embed.*"),
    *within("block{#+1}.#", "stages.#.blocks.#", *REDUCE),
    Rule("block{#+1}.#.mlp.dwconv.dwconv.*", "stages.#.blocks.#.mlp.dwconv.*"),
    Rule("block{#+1}.#.*", "stages.#.blocks.#.*"),
    head=(Rule("head.*", "head.label.*"),),
    root=("", "backbone."),
    placed=lambda config: [Rule(f"norm{len(config.depth)}.*", "norm.*")],
)

FORMATS = (
    Format(
        "timm",
        Rule("patch_embed.*", "stages.0.embed.*"),
        Rule("stages.#.downsample.*", "stages.#.embed.*"),
        *within("stages.#.blocks.#", "stages.#.blocks.#", *REDUCE),
        Rule("stages.#.*", "stages.#.*"),
        head=(Rule("head.*", "head.label.*"),),
        placed=lambda config: [Rule(f"stages.{len(config.depth) - 1}.norm.*", "norm.*")],
    ),
    AUTHORS,
    Format(
        "transformers",
        Rule("encoder.layers.#.layer_norm.*", "stages.#.norm.*"),
        Rule("encoder.layers.#.patch_embedding.proj.*", "stages.#.embed.proj.*"),
        Rule("encoder.layers.#.patch_embedding.layer_norm.*", "stages.#.embed.norm.*"),
        *within(
            "encoder.layers.#.blocks.#",
            "stages.#.blocks.#",
            *modules({"layer_norm_1": "norm1", "layer_norm_2": "norm2"}),
            *modules({"attention.query": "attn.q", "attention.proj": "attn.proj"}),
            *modules({("attention.key", "attention.value"): "attn.kv"}),
            Rule("attention.spatial_reduction.*", "attn.reduce.conv.*"),
            Rule("attention.layer_norm.*", "attn.reduce.norm.*"),
            *modules({"mlp.dense1": "mlp.fc1", "mlp.dense2": "mlp.fc2"}),
            Rule("mlp.dwconv.dwconv.*", "mlp.dwconv.*"),
        ),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("pvt_v2.",),
        placed=lambda config: [
            Rule(f"encoder.layers.{len(config.depth) - 1}.layer_norm.*", "norm.*")
        ],
    ),
)

PYRAMID = (  # and SegFormer's
    Same("num_channels", "in_chans", 3),
    Same("depths", "depth"),
    Same("hidden_sizes", "embed_dim"),
    Same("sr_ratios", "sr_ratio"),
    Same("patch_sizes", "patch_size"),
    Same("strides", "stride"),
    Same("num_attention_heads", "num_heads"),
    Same("hidden_dropout_prob", "drop_rate", 0.0),
    Same("drop_path_rate", "drop_path_rate", 0.0),
    Whole("mlp_ratios", "mlp_ratio"),
    Stages("num_encoder_blocks"),
    Only("hidden_act", "gelu"),
    Only("attention_probs_dropout_prob", 0.0),
)

CONFIGS = (
    Kind(
        "pvt_v2",
        "PvtV2ForImageClassification",
        (
            *PYRAMID,
            Same("layer_norm_eps", ("norm_eps", "reduce_norm_eps"), 1e-6),
            Choice("linear_attention", "pool_size", {False: None, True: 7}, False),
            Sides(),
            Only("qkv_bias", True),
        ),
        unread=("initializer_range",),
    ),
)


class PooledReduction(Reduction):
    """Average cells to a grid of one size, whatever that of the image (linear SRA, equation 2)."""

    def __init__(self, dim: int, side: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(dim, dim, 1)
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b m d"]:
        """Return `side` by `side` tokens."""
        pooled = F.adaptive_avg_pool2d(to_map(x, grid), self.side)
        tokens, _ = tiled(pooled.permute(0, 2, 3, 1), self.conv)
        return F.gelu(self.norm(tokens))

    def grid(self, grid: Grid) -> Grid:
        """Return the cells of the pooled map."""
        return (self.side, self.side)


class ConvMlp(Activated):
    """An MLP in which a cell sees its eight neighbours, and through the border's zeros its place.

    Args:
        dim: channels of a token.
        hidden: channels between the layers.
        relu: put one before the convolution (as the linear networks do).
        drop: dropout after each layer.
    """

    activated = "dwconv"

    def __init__(self, dim: int, hidden: int, *, relu: bool, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Transform each token, with a look at those around it (section 3.3)."""
        x = self.relu(self.fc1(x))
        x = to_tokens(self.dwconv(to_map(x, grid)))
        return self.drop2(self.fc2(self.drop1(self.act(x))))


class ConvBlock(nn.Module):
    """x + attn(norm(x)), then x + mlp(norm(x)), both of which are told the grid."""

    def __init__(self, config: PVTv2Config, stage: int, drop_path: float) -> None:
        super().__init__()
        c, dim, ratio = config, config.embed_dim[stage], config.sr_ratio[stage]
        reduce = None
        if c.pool_size is not None:
            reduce = PooledReduction(dim, c.pool_size, eps=c.reduce_norm_eps)
        elif ratio > 1:
            reduce = StridedReduction(dim, ratio, eps=c.reduce_norm_eps)
        hidden, linear = int(dim * c.mlp_ratio[stage]), c.pool_size is not None
        self.norm1 = nn.LayerNorm(dim, c.norm_eps)
        self.attn = ReducedAttention(dim, c.num_heads[stage], reduce, drop=c.drop_rate)
        self.drop_path1 = StochasticDepth(drop_path)
        self.norm2 = nn.LayerNorm(dim, c.norm_eps)
        self.mlp = ConvMlp(dim, hidden, relu=linear, drop=c.drop_rate)
        self.drop_path2 = StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix between tokens, then transform each."""
        x = x + self.drop_path1(self.attn(self.norm1(x), grid))
        return x + self.drop_path2(self.mlp(self.norm2(x), grid))


def stage(config: PVTv2Config, number: int) -> Stage:
    """Make the blocks at one resolution, and a norm; the last stage's is the network's."""
    c, i, before = config, number, sum(config.depth[:number])
    side, rates = c.patch_size[i], ramp(c.drop_path_rate, sum(c.depth))
    dim_in, dim = (c.in_chans, *c.embed_dim)[i : i + 2]
    embed = ConvEmbed(dim_in, dim, side, c.stride[i], side // 2, eps=c.reduce_norm_eps)
    blocks = [ConvBlock(c, i, rate) for rate in rates[before : before + c.depth[i]]]
    last = i + 1 == len(c.depth)
    return Stage(embed, blocks, None if last else nn.LayerNorm(dim, c.norm_eps))


def fresh(module: nn.Module) -> None:
    """Start as the authors' code: convolutions normal, of variance 2 / fan-out; biases zero."""
    truncated(module)
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight.numel() / module.in_channels
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PVTv2(Backbone):
    """Stages of blocks on ever coarser grids, without positions, read by the cells' mean."""

    def __init__(self, config: PVTv2Config) -> None:
        super().__init__()
        c = self.config = config
        self.stages = nn.ModuleList(stage(c, i) for i in range(len(c.depth)))
        self.width, self.head_std = c.embed_dim[-1], 0.02
        self.norm = nn.LayerNorm(self.width, c.norm_eps)
        self.levels = stage_levels(c.embed_dim, accumulate(c.stride, mul))
        self.apply(fresh)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages (each after its norm, but the last), or `final`."""
        admit(images, self.config.in_chans)
        trace = Trace(self, taps)
        images = images.contiguous(memory_format=torch.channels_last)  # as every later map is
        x, grid = trace.stages(self.stages, images)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding, blocks and norm in turn."""
        return [*in_depth(self.stages), self.norm]
