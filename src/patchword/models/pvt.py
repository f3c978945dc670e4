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

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ConfigError, ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Block,
    Grid,
    LearnedPosition,
    Mlp,
    ReducedAttention,
    StridedReduction,
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
        steps = [self.patch_size[0]]
        for side in self.patch_size[1:]:
            steps.append(steps[-1] * side)
        return steps


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
            Rule("cls_token", f"stages.{len(config.depth) - 1}.embed.class_token")
        ],
    ),
    Format(
        "transformers",
        *within(
            "encoder.patch_embeddings.#",
            "stages.#.embed",
            Rule("cls_token", "class_token"),
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
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if last else None
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=0.02)
        grid = (c.image_size[0] // step, c.image_size[1] // step)
        self.position = LearnedPosition(grid, dim, prefix=int(last), mode="bilinear")
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b rows columns c"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return a token per tile, in the last stage after the class token, and their grid."""
        x, grid = tiled(x, self.proj)
        x = self.norm(x)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.drop(x + self.position(grid)), grid


class Stage(nn.Module):
    """Blocks at one resolution (figure 3)."""

    def __init__(self, config: PVTConfig, stage: int) -> None:
        super().__init__()
        c, dim = config, config.embed_dim[stage]
        before, depth = sum(c.depth[:stage]), c.depth[stage]
        ratio = c.sr_ratio[stage]
        self.embed = Embed(c, stage)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                ReducedAttention(
                    dim,
                    c.num_heads[stage],
                    StridedReduction(dim, ratio, eps=c.reduce_norm_eps) if ratio > 1 else None,
                    drop=c.drop_rate,
                ),
                Mlp(dim, int(dim * c.mlp_ratio[stage]), drop=c.drop_rate),
                drop_path=rate,
                eps=c.norm_eps,
            )
            for rate in ramp(c.drop_path_rate, sum(c.depth))[before : before + depth]
        )

    def forward(
        self, x: Float[Tensor, "b rows columns c"], queries: int | None = None
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens as the last block leaves them, the first `queries` alone if given."""
        x, grid = self.embed(x)
        for i, block in enumerate(self.blocks):
            x = block(x, grid, queries if i + 1 == len(self.blocks) else None)
        return x, grid


class PVT(Backbone):
    """Stages of transformer blocks on ever coarser grids, the last one with a class token."""

    def __init__(self, config: PVTConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.sr_ratio[-1] != 1:
            raise ConfigError("sr_ratio must end in 1: the class token has no place in a tile")
        self.stages = nn.ModuleList(Stage(c, stage) for stage in range(len(c.depth)))
        self.width, self.head_std = c.embed_dim[-1], 0.02
        self.norm = nn.LayerNorm(self.width, c.norm_eps)
        steps = c.strides()
        self.levels = (
            *(Level(f"stages.{i}", c.embed_dim[i], (s, s)) for i, s in enumerate(steps)),
            Level("final", self.width, (steps[-1], steps[-1])),
        )
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        if images.shape[1] != self.config.in_chans:
            raise ShapeError(
                f"the images have {images.shape[1]} channels; "
                f"this model reads {self.config.in_chans}"
            )
        *lower, last = self.stages
        x = images.permute(0, 2, 3, 1)
        for i, stage in enumerate(lower):
            x, grid = stage(x)
            trace.tokens(f"stages.{i}", x, grid)
            x = x.unflatten(1, grid)
        x, grid = last(x, None if taps else 1)
        trace.tokens(f"stages.{len(lower)}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0])

    def spine(self) -> list[nn.Module]:
        """Return each stage's embedding and blocks in turn, and the last norm."""
        return [*(m for m in self.modules() if isinstance(m, (Embed, Block))), self.norm]
