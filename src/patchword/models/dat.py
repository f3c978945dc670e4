"""DAT: a pyramid in which half of the blocks attend to points that follow the image.

Paper      Xia et al., "Vision Transformer with Deformable Attention", CVPR 2022, arXiv:2201.00520
Reference  github.com/LeapLabTHU/DAT, models/dat.py and dat_blocks.py, tag CVPR2022
Departures none; where windows do not tile a map it is padded as in the authors' detection code
           (zeros below and to the right, attended to like any cell), and position tables are
           resampled for another image size as their loader does (bicubic)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Attend,
    Block,
    Grid,
    Mlp,
    Points,
    SampledBias,
    WindowAttention,
    merge_heads,
    ramp,
    relative_index,
    sample,
    shift_mask,
    split_heads,
    to_map,
    to_tokens,
)
from patchword.weights import POINTWISE, Format, Rule


@dataclass(frozen=True, kw_only=True)
class DATConfig:
    """Table 1 of the paper, and what its section 4.5 compares; a number per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; position tables are made for these
    patch_size: int = 4  # pixels
    in_chans: int = 3  # channels of an image
    stem_dim: int | None = None  # channels of a patch; None: the first stage's
    overlap: bool = False  # patches and down-samplings see half of their neighbours
    embed_dim: tuple[int, ...] = (96, 192, 384, 768)  # channels of a token
    depth: tuple[int, ...] = (2, 2, 6, 2)  # blocks
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    mixers: tuple[str, ...] = ("LS", "LS", "LD", "LD")  # local, shifted, deformable; over and over
    window_size: tuple[int, ...] = (7, 7, 7, 7)  # cells along a side of a window
    num_groups: tuple[int, ...] = (1, 1, 3, 6)  # of channels that share sampled points
    kernel_size: tuple[int, ...] = (9, 7, 5, 3)  # of the convolution that finds the points
    stride: tuple[int, ...] = (1, 1, 1, 1)  # cells per point along each axis
    offset_range: tuple[float, ...] = (2.0, 2.0, 2.0, 2.0)  # see `Points`
    position: tuple[Literal["relative", "convolution", "none"], ...] = ("relative",) * 4
    drop_rate: float = 0.0  # dropout: after each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "DAT":
        """Make the backbone, with fresh weights."""
        return DAT(self)

    def grid(self, stage: int) -> Grid:
        """Return the cells of a stage's map."""
        return tuple(side // self.patch_size // 2**stage for side in self.image_size)

    def kinds(self, stage: int) -> list[str]:
        """Return what each block of a stage mixes its tokens by: L, S or D."""
        pattern = self.mixers[stage]
        return [pattern[i % len(pattern)] for i in range(self.depth[stage])]


TINY = DATConfig()
SMALL = DATConfig(depth=(2, 2, 18, 2))
BASE = DATConfig(
    embed_dim=(128, 256, 512, 1024),
    depth=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    num_groups=(1, 1, 4, 8),
)

VARIANTS = {
    "dat_tiny": TINY,
    "dat_small": SMALL,
    "dat_base": BASE,
    "dat_base_384": replace(BASE, image_size=(384, 384), window_size=(12, 12, 12, 12)),
}

CLAIMS = {
    "dat_tiny": Claim(top1=82.0, source="README of the tag CVPR2022"),
    "dat_small": Claim(top1=83.7, source="README of the tag CVPR2022"),
    "dat_base": Claim(top1=84.0, source="README of the tag CVPR2022"),
    "dat_base_384": Claim(top1=84.8, source="README of the tag CVPR2022"),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


ATTN, OURS = "stages.#.attns.#", "stages.#.#.attn"

FORMATS = (
    Format(
        "authors",
        Rule("patch_proj.0.*", "stem.conv.*"),
        Rule("patch_proj.1.norm.*", "stem.norm.*"),
        Rule("stages.0.proj.weight", "proj.weight", POINTWISE),
        Rule("stages.0.proj.bias", "proj.bias"),
        Rule("stages.#.layer_norms.{2#}.norm.*", "stages.#.#.norm1.*"),
        Rule("stages.#.layer_norms.{2#+1}.norm.*", "stages.#.#.norm2.*"),
        Rule(f"{ATTN}.proj_qkv.*", f"{OURS}.qkv.*"),
        Rule(f"{ATTN}.relative_position_bias_table", f"{OURS}.bias.table"),
        Rule(f"{ATTN}.proj_q.weight", f"{OURS}.q.weight", POINTWISE),
        Rule(f"{ATTN}.proj_q.bias", f"{OURS}.q.bias"),
        Rule((f"{ATTN}.proj_k.weight", f"{ATTN}.proj_v.weight"), f"{OURS}.kv.weight", POINTWISE),
        Rule((f"{ATTN}.proj_k.bias", f"{ATTN}.proj_v.bias"), f"{OURS}.kv.bias"),
        Rule(f"{ATTN}.conv_offset.0.*", f"{OURS}.points.conv.*"),
        Rule(f"{ATTN}.conv_offset.1.norm.*", f"{OURS}.points.norm.*"),
        Rule(f"{ATTN}.conv_offset.3.weight", f"{OURS}.points.proj.weight", POINTWISE),
        Rule(f"{ATTN}.rpe_table", f"{OURS}.position.table"),
        Rule(f"{ATTN}.rpe_table.*", f"{OURS}.position.*"),
        Rule(f"{ATTN}.proj_out.*", f"{OURS}.proj.*"),
        Rule("stages.#.mlps.#.chunk.linear1.*", "stages.#.#.mlp.fc1.*"),
        Rule("stages.#.mlps.#.chunk.linear2.*", "stages.#.#.mlp.fc2.*"),
        Rule("down_projs.#.0.*", "downs.#.conv.*"),
        Rule("down_projs.#.1.norm.*", "downs.#.norm.*"),
        Rule("cls_norm.norm.*", "norm.*"),
        head=(Rule("cls_head.*", "head.label.*"),),
        ignore=(f"{ATTN}.relative_position_index", f"{ATTN}.attn_mask"),
        derived=lambda config: tables(config),
    ),
)


def tables(config: DATConfig) -> dict[str, Tensor]:
    """Return the indices and masks that the authors' files hold for a config's windows."""
    made: dict[str, Tensor] = {}
    for i, side in enumerate(config.window_size):
        window = (side, side)
        grid = tuple(cells + -cells % side for cells in config.grid(i))
        for j, kind in enumerate(config.kinds(i)):
            if kind != "D":
                made[f"stages.{i}.attns.{j}.relative_position_index"] = relative_index(window)
            if kind == "S":
                mask = shift_mask(grid, window, -(-side // 2), torch.zeros(()))
                made[f"stages.{i}.attns.{j}.attn_mask"] = mask[:, 0]
    return made


class DeformableAttention(nn.Module):
    """Attention of every cell to the same few points, found in the image (section 3.2)."""

    def __init__(self, config: DATConfig, stage: int) -> None:
        super().__init__()
        c, i = config, stage
        dim, self.num_heads, self.groups = c.embed_dim[i], c.num_heads[i], c.num_groups[i]
        self.q = nn.Linear(dim, dim)
        self.points = Points(
            dim // self.groups, self.groups, c.kernel_size[i], c.stride[i], c.offset_range[i]
        )
        self.kv = nn.Linear(dim, 2 * dim)
        self.position: nn.Module | None = None
        if c.position[i] == "relative":
            self.position = SampledBias(c.grid(i), self.num_heads)
        elif c.position[i] == "convolution":
            self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.attend = Attend()
        self.proj = nn.Conv2d(dim, dim, 1)
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Sample the map at the points, and mix what is found there."""
        q = self.q(x)
        points = self.points(q, grid).flatten(2, 3)  # b g m 2
        maps = to_map(x, grid).unflatten(1, (self.groups, -1)).flatten(0, 1)
        found = sample(maps, points.flatten(0, 1)[:, None])  # (b g) c 1 m
        found = found.view(len(x), -1, points.shape[2]).mT.to(x.dtype)
        k, v = self.kv(found).chunk(2, -1)
        bias = None
        if isinstance(self.position, SampledBias):
            bias = self.position(grid, points).to(q.dtype)
        heads = (split_heads(t, self.num_heads) for t in (q, k, v))
        mixed = to_map(merge_heads(self.attend(*heads, bias)), grid)
        if isinstance(self.position, nn.Conv2d):
            mixed = mixed + self.position(to_map(q, grid))
        return self.drop(to_tokens(self.proj(mixed)))


def mixer(config: DATConfig, stage: int, kind: str) -> nn.Module:
    """Make what mixes the tokens of a block: L, S or D."""
    if kind == "D":
        return DeformableAttention(config, stage)
    dim, heads, window = config.embed_dim[stage], config.num_heads[stage], config.window_size[stage]
    shift = -(-window // 2) if kind == "S" else 0
    made = WindowAttention(dim, heads, window, shift=shift, drop=config.drop_rate)
    nn.init.trunc_normal_(made.bias.table, std=0.01)
    return made


class Cut(nn.Module):
    """Cells to fewer cells, by a strided convolution and a norm."""

    def __init__(
        self, dim: int, out: int, stride: int, *, overlap: bool, bias: bool = False
    ) -> None:
        super().__init__()
        kernel, padding = (2 * stride - 1, stride - 1) if overlap else (stride, 0)
        self.conv = nn.Conv2d(dim, out, kernel, stride, padding, bias=bias)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return tokens and their grid; what is left over below and to the right is left out.

        Raises:
            ShapeError: the images have another number of channels.
        """
        if x.shape[1] != self.conv.in_channels:
            reads = f"this model reads {self.conv.in_channels}"
            raise ShapeError(f"the images have {x.shape[1]} channels; {reads}")
        cells = self.conv(x)
        return self.norm(to_tokens(cells)), (cells.shape[2], cells.shape[3])


class DAT(Backbone):
    """Two stages of windows, then two in which windows and deformable attention take turns."""

    def __init__(self, config: DATConfig) -> None:
        super().__init__()
        c = self.config = config
        dims, stem = c.embed_dim, c.stem_dim or c.embed_dim[0]
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))

        def block(stage: int, kind: str) -> Block:
            mlp = Mlp(dims[stage], int(dims[stage] * c.mlp_ratio), drop=c.drop_rate)
            mix = mixer(c, stage, kind)
            return Block(dims[stage], mix, mlp, drop_path=next(rates), eps=1e-5)

        self.stem = Cut(c.in_chans, stem, c.patch_size, overlap=c.overlap, bias=True)
        self.proj = nn.Identity() if stem == dims[0] else nn.Linear(stem, dims[0])
        self.stages = nn.ModuleList(
            nn.ModuleList(block(i, kind) for kind in c.kinds(i)) for i in range(len(dims))
        )
        self.downs = nn.ModuleList(
            Cut(dim, out, 2, overlap=c.overlap) for dim, out in pairwise(dims)
        )
        self.norm = nn.LayerNorm(dims[-1])
        strides = [c.patch_size * 2**i for i in range(len(dims))]
        levels = [Level(f"stages.{i}", dims[i], (s, s)) for i, s in enumerate(strides)]
        self.levels = (*levels, replace(levels[-1], name="final"))
        self.width = dims[-1]
        self.head_std = (3 * self.width) ** -0.5  # of torch's own start

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        x = self.proj(x)
        for i, stage in enumerate(self.stages):
            if i:
                x, grid = self.downs[i - 1](to_map(x, grid))
            for block in stage.children():
                x = block(x, grid)
            trace.tokens(f"stages.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks with a down-sampling between stages, and the last norm."""
        parts = [nn.ModuleList([self.stem, self.proj]), *self.stages[0].children()]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            parts += [down, *stage.children()]
        return [*parts, self.norm]
