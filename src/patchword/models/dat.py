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
    Block,
    ConvEmbed,
    Grid,
    Layout,
    Mixer,
    Mlp,
    OffsetTable,
    StridedDepthwise,
    WindowAttention,
    Windows,
    admit,
    centres,
    merge_heads,
    ramp,
    relative_index,
    sample,
    split_heads,
    strided_depthwise,
    through,
    to_map,
    to_tokens,
    whole,
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


BASE = DATConfig(
    embed_dim=(128, 256, 512, 1024),
    depth=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    num_groups=(1, 1, 4, 8),
)

VARIANTS = {
    "dat_tiny": DATConfig(),
    "dat_small": DATConfig(depth=(2, 2, 18, 2)),
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
        Rule("patch_proj.0.*", "stem.proj.*"),
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
        Rule("down_projs.#.0.*", "downs.#.proj.*"),
        Rule("down_projs.#.1.norm.*", "downs.#.norm.*"),
        Rule("cls_norm.norm.*", "norm.*"),
        head=(Rule("cls_head.*", "head.label.*"),),
        ignore=(f"{ATTN}.relative_position_index", f"{ATTN}.attn_mask"),
        derived=lambda config: {
            f"stages.{i}.attns.{j}.{name}": tensor
            for i in range(len(config.depth))
            for j, kind in enumerate(config.kinds(i))
            if kind != "D"
            for windows in [RolledWindows(config, i, shifted=kind == "S")]
            for name, tensor in (
                ("relative_position_index", relative_index(windows.window)),
                ("attn_mask", windows.seams),
            )
            if tensor is not None
        },
    ),
)


class RolledWindows(Windows):
    """Windows that are shifted by half of theirs, rounded up, however small the map."""

    def __init__(self, config: DATConfig, stage: int, *, shifted: bool) -> None:
        side = config.window_size[stage]
        super().__init__(config.grid(stage), (side, side), shifted=shifted, tiling="torchvision")

    def shift(self, grid: Grid) -> tuple[int, int]:
        """Return by how many rows and columns a map is rolled."""
        step = -(-self.window[0] // 2) if self.shifted else 0
        return step, step


class Points(nn.Module):
    """Find the points to sample: a regular grid, moved by what the queries say (figure 2b).

    Each group moves its points by itself, by the same weights.
    """

    def __init__(self, config: DATConfig, stage: int) -> None:
        super().__init__()
        c, i = config, stage
        self.groups, self.reach = c.num_groups[i], c.offset_range[i]
        dim, kernel = c.embed_dim[i] // self.groups, c.kernel_size[i]
        self.conv = StridedDepthwise(dim, dim, kernel, c.stride[i])
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, 2, bias=False)

    def forward(self, q: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b g r c 2"]:
        """Return row and column of each point, where a map's sides are at -1 and 1."""
        conv, groups = self.conv, self.groups
        assert conv.bias is not None
        weight, bias = conv.weight.repeat(groups, 1, 1, 1), conv.bias.repeat(groups)
        maps = to_map(q, grid)
        x = strided_depthwise(maps, weight, bias, conv.stride[0])
        x = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))  # b rows columns g c
        offset = self.proj(F.gelu(self.norm(x))).permute(0, 3, 1, 2, 4)
        offset = offset.to(torch.promote_types(q.dtype, torch.float32))  # bf16 is off by cells
        rows, columns = offset.shape[2:4]
        if self.reach > 0:
            cell = offset.new_tensor([1 / rows, 1 / columns])
            offset = self.reach * cell * offset.tanh()
        points = offset + centres((rows, columns), offset)
        return points.tanh() if self.reach < 0 else points


class SampledBias(OffsetTable):
    """A table of biases by the offset between query and key, read at any offset (equation 8)."""

    def __init__(self, grid: Grid, num_heads: int) -> None:
        super().__init__()
        self.reach = grid
        self.table = nn.Parameter(torch.empty(num_heads, *(2 * side - 1 for side in grid)))
        nn.init.trunc_normal_(self.table, std=0.01)

    def forward(self, grid: Grid, points: Float[Tensor, "b g m 2"]) -> Float[Tensor, "b h n m"]:
        """Return the bias of every cell's query to every point, by head."""
        batch, groups, count = points.shape[:3]
        cells = centres(grid, points).flatten(0, 1)
        offsets = (cells[:, None] - points[:, :, None]) / 2  # b g n m 2
        table = self.at(grid).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
        found = sample(table.flatten(0, 1), offsets.flatten(0, 1))
        return found.view(batch, -1, len(cells), count)

    def at(self, reach: Grid) -> Float[Tensor, "heads h w"]:
        """Return the table, resampled for another map (bicubic, as DAT's code)."""
        if reach == self.reach:
            return self.table
        sides = tuple(2 * side - 1 for side in reach)
        return F.interpolate(self.table[None], sides, mode="bicubic")[0]


class DeformableAttention(Mixer):
    """Attention of every cell to the same few points, found in the image (section 3.2)."""

    def __init__(self, config: DATConfig, stage: int) -> None:
        super().__init__()
        c, i = config, stage
        dim, self.num_heads, self.groups = c.embed_dim[i], c.num_heads[i], c.num_groups[i]
        self.q = nn.Linear(dim, dim)
        self.points = Points(c, i)
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

    def layout(self, x: Tensor, grid: Grid) -> Layout:
        """Return where queries lie, and which cells each point is read between."""
        points = self.points(self.q(x), grid).flatten(2, 3)
        cells = torch.eye(prod(grid), dtype=points.dtype, device=x.device).unflatten(1, grid)
        read = sample(cells.expand(len(x) * self.groups, -1, -1, -1), points.flatten(0, 1)[:, None])
        read = read[:, :, 0].mT.unflatten(0, (-1, self.groups))  # b g m cells
        read = read.repeat_interleave(self.num_heads // self.groups, dim=1)
        return whole(x.shape[1], grid)._replace(read=read)


class DAT(Backbone):
    """Two stages of windows, then two in which windows and deformable attention take turns."""

    def __init__(self, config: DATConfig) -> None:
        super().__init__()
        c = self.config = config
        dims, stem, step = c.embed_dim, c.stem_dim or c.embed_dim[0], c.patch_size
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))

        def cut(dim: int, out: int, stride: int, *, bias: bool = False) -> ConvEmbed:
            kernel, padding = (2 * stride - 1, stride - 1) if c.overlap else (stride, 0)
            return ConvEmbed(dim, out, kernel, stride, padding, bias=bias)

        def stage(i: int) -> nn.ModuleList:
            windows = {kind: RolledWindows(c, i, shifted=kind == "S") for kind in "LS"}
            return nn.ModuleList(block(i, windows.get(kind)) for kind in c.kinds(i))

        def block(i: int, windows: Windows | None) -> Block:
            if windows is None:
                mix = DeformableAttention(c, i)
            else:
                mix = WindowAttention(dims[i], c.num_heads[i], windows, drop=c.drop_rate)
                nn.init.trunc_normal_(mix.bias.table, std=0.01)
            mlp = Mlp(dims[i], int(dims[i] * c.mlp_ratio), drop=c.drop_rate)
            return Block(dims[i], mix, mlp, drop_path=next(rates), eps=1e-5)

        self.stem = cut(c.in_chans, stem, step, bias=True)
        self.proj = nn.Identity() if stem == dims[0] else nn.Linear(stem, dims[0])
        self.stages = nn.ModuleList(map(stage, range(len(dims))))
        self.downs = nn.ModuleList(cut(dim, out, 2) for dim, out in pairwise(dims))
        self.norm = nn.LayerNorm(dims[-1])
        self.levels = stage_levels(dims, [step * 2**i for i in range(len(dims))])
        self.width = dims[-1]
        self.head_std = (3 * self.width) ** -0.5  # of torch's own start

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`.

        What is left over of a map below and to the right, where cells are merged, is left out.
        """
        admit(images, self.config.in_chans)
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        x = self.proj(x)
        for i, stage in enumerate(self.stages):
            if i:
                x, grid = self.downs[i - 1](to_map(x, grid))
            x = through([(block, windows(block)) for block in stage.children()], x, grid)
            trace.tokens(f"stages.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks with a down-sampling between stages, and the last norm."""
        starts = (nn.ModuleList([self.stem, self.proj]), *self.downs)
        pairs = zip(starts, self.stages, strict=True)
        return [*(part for start, stage in pairs for part in (start, *stage.children())), self.norm]


def windows(block: nn.Module) -> Windows | None:
    """Return the windows of a block, if it has any."""
    return getattr(block.get_submodule("attn"), "windows", None)
