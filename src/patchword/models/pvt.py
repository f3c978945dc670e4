"""PVT: the Pyramid Vision Transformer.

Paper      Wang et al., "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction
           without Convolutions", ICCV 2021, arXiv:2102.12122
Reference  github.com/whai362/PVT, classification/pvt.py
Departures at another image size every stage's positions are read at its own grid; the authors'
           code goes by the number of cells of the first stage, and leaves a table alone, or
           fails, where that happens to agree
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ConfigError
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    Block,
    ClassToken,
    Grid,
    LearnedPosition,
    Mlp,
    ReducedAttention,
    Stage,
    StridedReduction,
    admit,
    in_depth,
    ramp,
    tiled,
    truncated,
)
from patchword.weights import Format, Rule, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Must, Only, Same, Sides, Stages, Whole


@dataclass(frozen=True, kw_only=True)
class PVTConfig:
    """Table 1 of the paper; what is a tuple has an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; positions are made for these
    patch_size: tuple[int, ...] = (4, 2, 2, 2)  # pixels, then cells of the stage before, per side
    in_chans: int = 3  # channels of an image
    embed_dim: tuple[int, ...] = (64, 128, 320, 512)  # channels of a token
    depth: tuple[int, ...] = (2, 2, 2, 2)  # blocks
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratio: tuple[float, ...] = (8.0, 8.0, 4.0, 4.0)  # hidden channels of the MLP per channel
    sr_ratio: tuple[int, ...] = (8, 4, 2, 1)  # cells per side that a key stands for (R)
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0
    norm_eps: float = 1e-6  # of the blocks' norms and the last one
    reduce_norm_eps: float = 1e-5  # of the norms where tiles are merged: patches, and keys

    def build(self) -> "PVT":
        """Make the backbone, with fresh weights."""
        return PVT(self)

    def strides(self) -> list[int]:
        """Return the pixels per cell of each stage, along a side."""
        return [*accumulate(self.patch_size, mul)]


VARIANTS = {
    "pvt_tiny": PVTConfig(),
    "pvt_small": PVTConfig(depth=(3, 4, 6, 3)),
    "pvt_medium": PVTConfig(depth=(3, 4, 18, 3)),
    "pvt_large": PVTConfig(depth=(3, 8, 27, 3)),
}

CLAIMS = {
    "pvt_tiny": Claim(params=13.23, macs=1.93, top1=75.1, source="README"),
    "pvt_small": Claim(params=24.49, macs=3.82, top1=79.8, source="README"),
    "pvt_medium": Claim(params=44.21, macs=6.66, top1=81.2, source="README"),
    "pvt_large": Claim(params=61.37, macs=9.81, top1=81.7, source="README"),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FORMATS = (
    Format(
        "authors",
        Rule("pos_embed{#+1}", "stages.#.embed.position.table"),
        Rule("patch_embed{#+1}.*", "stages.#.embed.*"),
        Rule("block{#+1}.#.attn.sr.*", "stages.#.blocks.#.attn.reduce.conv.*"),
        Rule("block{#+1}.#.attn.norm.*", "stages.#.blocks.#.attn.reduce.norm.*"),
        Rule("block{#+1}.#.*", "stages.#.blocks.#.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        placed=lambda config: [
            Rule("cls_token", f"stages.{len(config.depth) - 1}.embed.class_token.token")
        ],
    ),
    Format(
        "transformers",
        *within(
            "encoder.patch_embeddings.#",
            "stages.#.embed",
            Rule("cls_token", "class_token.token"),
            Rule("position_embeddings", "position.table"),
            *modules({"projection": "proj", "layer_norm": "norm"}),
        ),
        *within(
            "encoder.block.#.#",
            "stages.#.blocks.#",
            *modules({"layer_norm_1": "norm1", "layer_norm_2": "norm2"}),
            *modules({"attention.self.query": "attn.q", "attention.output.dense": "attn.proj"}),
            *modules({("attention.self.key", "attention.self.value"): "attn.kv"}),
            Rule("attention.self.sequence_reduction.*", "attn.reduce.conv.*"),
            Rule("attention.self.layer_norm.*", "attn.reduce.norm.*"),
            *modules({"mlp.dense1": "mlp.fc1", "mlp.dense2": "mlp.fc2"}),
        ),
        Rule("encoder.layer_norm.*", "norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("pvt.",),
    ),
)

CONFIGS = (
    Kind(
        "pvt",
        "PvtForImageClassification",
        (
            Same("num_channels", "in_chans", 3),
            Same("depths", "depth"),
            Same("hidden_sizes", "embed_dim"),
            Same("sequence_reduction_ratios", "sr_ratio"),
            Same(("patch_sizes", "strides"), "patch_size"),
            Same("num_attention_heads", "num_heads"),
            Same("layer_norm_eps", ("norm_eps", "reduce_norm_eps"), 1e-6),
            Same("hidden_dropout_prob", "drop_rate", 0.0),
            Same("drop_path_rate", "drop_path_rate", 0.0),
            Whole("mlp_ratios", "mlp_ratio"),
            Must("patch_size", lambda sides: {4, *sides[1:]} == {4, 2} == {*sides}, "4, then 2"),
            Stages("num_encoder_blocks"),
            Sides(square=True),
            Only("hidden_act", "gelu"),
            Only("attention_probs_dropout_prob", 0.0),
            Only("qkv_bias", True),
        ),
        unread=("initializer_range",),
    ),
)


class Embed(nn.Module):
    """From the stage before, or from pixels, to a stage's tokens (section 3.2)."""

    def __init__(self, config: PVTConfig, stage: int) -> None:
        super().__init__()
        c, side = config, config.patch_size[stage]
        dim = c.embed_dim[stage]
        step = c.strides()[stage]
        last = stage + 1 == len(c.depth)
        self.proj = nn.Conv2d((c.in_chans, *c.embed_dim)[stage], dim, side, stride=side)
        self.norm = nn.LayerNorm(dim, c.reduce_norm_eps)
        self.class_token = ClassToken(dim) if last else nn.Identity()
        grid = (c.image_size[0] // step, c.image_size[1] // step)
        self.position = LearnedPosition(grid, dim, prefix=int(last), mode="bilinear")
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b c rows columns"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return a token per tile, in the last stage after the class token, and their grid."""
        x, grid = tiled(x.permute(0, 2, 3, 1), self.proj)
        return self.drop(self.class_token(self.norm(x)) + self.position(grid)), grid


def stage(config: PVTConfig, number: int) -> Stage:
    """Make the blocks at one resolution (figure 3), and the embedding that leads to it."""
    c, i, dim = config, number, config.embed_dim[number]
    before, ratio = sum(c.depth[:i]), c.sr_ratio[i]
    blocks = (
        Block(
            dim,
            ReducedAttention(
                dim,
                c.num_heads[i],
                StridedReduction(dim, ratio, eps=c.reduce_norm_eps) if ratio > 1 else None,
                drop=c.drop_rate,
            ),
            Mlp(dim, int(dim * c.mlp_ratio[i]), drop=c.drop_rate),
            drop_path=rate,
            eps=c.norm_eps,
        )
        for rate in ramp(c.drop_path_rate, sum(c.depth))[before : before + c.depth[i]]
    )
    return Stage(Embed(c, i), blocks)


class PVT(Backbone):
    """Stages of transformer blocks on ever coarser grids, the last one with a class token."""

    class_tokens = 1

    def __init__(self, config: PVTConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.sr_ratio[-1] != 1:
            raise ConfigError("sr_ratio must end in 1: the class token has no place in a tile")
        self.stages = nn.ModuleList(stage(c, i) for i in range(len(c.depth)))
        self.width, self.head_std = c.embed_dim[-1], 0.02
        self.norm = nn.LayerNorm(self.width, c.norm_eps)
        self.levels = stage_levels(c.embed_dim, c.strides(), (1,))
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        admit(images, self.config.in_chans)
        trace = Trace(self, taps)
        x, grid = trace.stages(self.stages, images, None if taps else 1)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding and blocks in turn, and the last norm."""
        return [*in_depth(self.stages), self.norm]
