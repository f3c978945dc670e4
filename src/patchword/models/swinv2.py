"""Swin V2: cosine attention, norms after the branches, and biases computed from log distances.

Paper      Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", CVPR 2022,
           arXiv:2111.09883
Reference  github.com/microsoft/Swin-Transformer, models/swin_transformer_v2.py
Departures grids that windows do not tile are padded by timm's rules, where the authors' code
           refuses the image; `tiling` names the rules of the others. No dropout of attention
"""

import math
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ConfigError
from patchword.layers import (
    Attend,
    Grid,
    KeylessLinear,
    Layout,
    Mixer,
    Mlp,
    Piecewise,
    Standing,
    StochasticDepth,
    Windows,
    by_index,
    fold_heads,
    merge_heads,
    relative_index,
    two_by_two,
)
from patchword.layers.attention import with_key
from patchword.models.swin import Swin, SwinConfig
from patchword.weights import Rule, View
from patchword.weights.configs import Kind
from patchword.weights.settings import Only, Ours, Same
from patchword.weights.windowed import UNREAD, WINDOWED, formats, transformers_format


@dataclass(frozen=True, kw_only=True)
class SwinV2Config(SwinConfig):
    """Swin's settings, and the windows of an earlier training at a lower resolution."""

    image_size: tuple[int, int] = (256, 256)
    window_size: tuple[int, ...] = (8, 8, 8, 8)
    pretrained_window_sizes: tuple[int, ...] = (0, 0, 0, 0)  # 0: the same windows

    def build(self) -> Swin:
        """Make the backbone, with fresh weights."""
        stages = len(self.depth)
        if len(self.pretrained_window_sizes) != stages:
            raise ConfigError(f"pretrained_window_sizes needs {stages} numbers, one per stage")

        def block(i: int, windows: Windows, drop_path: float) -> PostNormBlock:
            dim = self.embed_dim * 2**i
            offsets = log_offsets(windows.window, self.pretrained_window_sizes[i])
            bias = LogBias(windows.window, self.num_heads[i], offsets)
            attn = CosineAttention(dim, windows, bias, qv_bias=self.qkv_bias, drop=self.drop_rate)
            mlp = Mlp(dim, int(dim * self.mlp_ratio), drop=self.drop_rate)
            return PostNormBlock(dim, attn, mlp, drop_path=drop_path)

        return Swin(self, block, PatchMerging)


TINY = SwinV2Config()
SMALL = replace(TINY, depth=(2, 2, 18, 2))
BASE = replace(SMALL, embed_dim=128, num_heads=(4, 8, 16, 32))
LARGE = replace(SMALL, embed_dim=192, num_heads=(6, 12, 24, 48))


def sized(
    config: SwinV2Config, side: int, window: int, *, pretrained: bool = False
) -> SwinV2Config:
    """Return the same network for other images and windows, perhaps after training at 192."""
    return replace(
        config,
        image_size=(side, side),
        window_size=(window,) * 4,
        pretrained_window_sizes=(12, 12, 12, 6) if pretrained else (0, 0, 0, 0),
    )


VARIANTS = {
    "swinv2_tiny_window8_256": TINY,
    "swinv2_tiny_window16_256": sized(TINY, 256, 16),
    "swinv2_small_window8_256": SMALL,
    "swinv2_small_window16_256": sized(SMALL, 256, 16),
    "swinv2_base_window8_256": BASE,
    "swinv2_base_window16_256": sized(BASE, 256, 16),
    "swinv2_base_window12_192": sized(BASE, 192, 12),
    "swinv2_base_window12to16_192to256": sized(BASE, 256, 16, pretrained=True),
    "swinv2_base_window12to24_192to384": sized(BASE, 384, 24, pretrained=True),
    "swinv2_large_window12_192": sized(LARGE, 192, 12),
    "swinv2_large_window12to16_192to256": sized(LARGE, 256, 16, pretrained=True),
    "swinv2_large_window12to24_192to384": sized(LARGE, 384, 24, pretrained=True),
}

HUB = "MODELHUB.md of the reference"
HUB_22K = f"{HUB}; pre-trained on ImageNet-22k at 192"
CLAIMS = {
    "swinv2_tiny_window8_256": Claim(28.0, 5.9, 81.8, HUB),
    "swinv2_tiny_window16_256": Claim(28.0, 6.6, 82.8, HUB),
    "swinv2_small_window8_256": Claim(50.0, 11.5, 83.7, HUB),
    "swinv2_small_window16_256": Claim(50.0, 12.6, 84.1, HUB),
    "swinv2_base_window8_256": Claim(88.0, 20.3, 84.2, HUB),
    "swinv2_base_window16_256": Claim(88.0, 21.8, 84.6, HUB),
    "swinv2_base_window12to16_192to256": Claim(88.0, 21.8, 86.2, HUB_22K),
    "swinv2_base_window12to24_192to384": Claim(88.0, 54.7, 87.1, HUB_22K),
    "swinv2_large_window12to16_192to256": Claim(197.0, 47.5, 86.9, HUB_22K),
    "swinv2_large_window12to24_192to384": Claim(197.0, 115.4, 87.6, HUB_22K),
}

PREPROCESSING = Frame(
    image_size=(256, 256), crop=0.9, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def log_offsets(window: tuple[int, int], pretrained: int = 0) -> Float[Tensor, "rows columns 2"]:
    """Return every offset in a window, log-spaced: 1 is the farthest, if none was pre-trained.

    Args:
        window: rows, columns.
        pretrained: the side of the window whose farthest offset is 1 instead; 0: this one's.
    """
    sides = [pretrained or side for side in window]
    axes = [
        torch.arange(1.0 - side, side) * 8 / max(known - 1, 1)
        for side, known in zip(window, sides, strict=True)
    ]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return offsets.sign() * (offsets.abs() + 1).log2() / math.log2(8)


def coordinates(config: Any, i: int) -> dict[str, Tensor]:
    """Return the table of offsets that others keep beside a stage's weights."""
    offsets = log_offsets(config.windows[i], config.pretrained_window_sizes[i])
    return {"relative_coords_table": offsets[None]}


def without_key(bias: Float[Tensor, " qkv"]) -> Float[Tensor, " qv"]:
    """Leave the keys' part out, which torchvision has and does not read."""
    q, _, v = bias.chunk(3)
    return torch.cat([q, v])


ATTENTION = (
    Rule("attn.qkv.weight", "attn.qkv.weight"),
    Rule("attn.logit_scale", "attn.logit_scale"),
    Rule("attn.cpb_mlp.#.*", "attn.bias.mlp.#.*"),
)
QV = Rule(("attn.q_bias", "attn.v_bias"), "attn.qkv.qv_bias")

FORMATS = (
    *formats(*ATTENTION, QV, own=coordinates)[:2],
    formats(
        *ATTENTION,
        Rule("attn.qkv.bias", "attn.qkv.qv_bias", View(without_key, with_key)),
        own=coordinates,
    )[2],
    transformers_format(
        "transformers",
        "swinv2.",
        (
            Rule(tuple(f"self.{part}.weight" for part in ("query", "key", "value")), "qkv.weight"),
            Rule(("self.query.bias", "self.value.bias"), "qkv.qv_bias"),
            Rule("self.logit_scale", "logit_scale"),
            Rule("self.continuous_position_bias_mlp.#.*", "bias.mlp.#.*"),
            Rule("output.dense.*", "proj.*"),
        ),
        fc1="intermediate.dense",
        fc2="output.dense",
    ),
)

CONFIGS = (
    Kind(
        "swinv2",
        "Swinv2ForImageClassification",
        (
            *WINDOWED,
            Same("pretrained_window_sizes", "pretrained_window_sizes", [0, 0, 0, 0]),
            Only("use_absolute_embeddings", False),
            Ours("position", "none"),
        ),
        unread=UNREAD,
    ),
)


class LogBias(Standing):
    """A bias per head and pair of cells, computed from their log-spaced offset (section 3.3)."""

    def __init__(self, window: tuple[int, int], heads: int, offsets: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.register_buffer("offsets", offsets.flatten(0, 1), persistent=False)
        self.register_buffer("index", relative_index(window), persistent=False)

    offsets: Tensor
    index: Tensor

    def forward(self) -> Float[Tensor, "heads cells cells"]:
        """Return the bias of every query to every key, from 0 to 16."""
        table = 16 * self.mlp(self.offsets).sigmoid()
        return by_index(table, self.index)


class CosineAttention(Mixer):
    """Attention inside windows by the cosines of queries and keys, times a scale per head."""

    def __init__(
        self, dim: int, windows: Windows, bias: LogBias, *, qv_bias: bool = True, drop: float
    ) -> None:
        super().__init__()
        self.num_heads, self.windows = bias.heads, windows
        self.qkv = KeylessLinear(dim) if qv_bias else nn.Linear(dim, 3 * dim, bias=False)
        self.logit_scale = nn.Parameter(torch.full((bias.heads, 1, 1), math.log(10)))
        self.bias = bias
        self.attend = Attend(scale=1.0)
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix tokens, which come in the order of the windows (equation 2)."""
        order = self.windows(x, grid)
        x = order.cleared(x)
        bias = order.folded(self.bias(), x.shape[1])
        places, heads = bias.shape[-1], self.num_heads
        q, k, v = (fold_heads(t, places, heads) for t in self.qkv(x).chunk(3, -1))
        scale = self.logit_scale.clamp(max=math.log(100)).exp()
        q = F.normalize(q, dim=-1) * scale.repeat(q.shape[1] // heads, 1, 1).to(q)
        mixed = self.attend(q, F.normalize(k, dim=-1), v, bias)
        return self.drop(self.proj(merge_heads(mixed).reshape(x.shape)))

    def layout(self, x: Tensor, grid: Grid) -> Layout:
        """Return where queries and keys lie: those of each window, padding among them."""
        return self.windows(x, grid).layout(grid, prod(self.windows.window))


class PostNormBlock(Piecewise):
    """x + norm(attn(x)), then x + norm(mlp(x)); the norms start at 0 (section 3.2)."""

    def __init__(
        self, dim: int, attn: nn.Module, mlp: nn.Module, *, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.attn, self.norm1, self.drop_path1 = attn, nn.LayerNorm(dim), StochasticDepth(drop_path)
        self.mlp, self.norm2, self.drop_path2 = mlp, nn.LayerNorm(dim), StochasticDepth(drop_path)
        for norm in (self.norm1, self.norm2):
            nn.init.zeros_(norm.weight)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix between tokens, then transform each."""
        x = x + self.drop_path1(self.norm1(self.attn(x, grid)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


class PatchMerging(nn.Module):
    """Make one token of four neighbours, with twice the channels; the norm comes last."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "b m e"], Grid]:
        """Return the tokens and their grid, half the old one."""
        x, grid = two_by_two(x, grid)
        return self.norm(self.reduction(x)), grid
