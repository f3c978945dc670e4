"""ViL: Multi-Scale Vision Longformer, windows that slide and a few tokens that see everything.

Paper      Zhang et al., "Multi-Scale Vision Longformer: A New Vision Transformer for
           High-Resolution Image Encoding", ICCV 2021, arXiv:2103.15358
Reference  github.com/microsoft/vision-longformer, src/models/msvit.py and layers/
Departures no random shifting (a way to train faster; the network that it yields is this one); at
           another image size, which theirs refuses, tables are resampled as their loader does
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Trace, stage_levels
from patchword.layers import (
    READING,
    Attend,
    Block,
    Grid,
    Layout,
    Mixer,
    Mlp,
    OffsetBias,
    PatchEmbed,
    RowColumnPosition,
    Stage,
    TokenMixer,
    Windows,
    admit,
    cells,
    fold_heads,
    in_depth,
    merge_heads,
    offset_index,
    ramp,
    relative_index,
    reorder,
    split_heads,
    strided,
    truncated,
)
from patchword.weights import Format, Rule

Reach = Literal["chunks", "cyclic", "window"]
"""What a cell sees: its chunk of the map and the eight around it; the same on a map whose edges
are joined, padding included; or just the cells that are up to a chunk's side away."""


@dataclass(frozen=True, kw_only=True)
class ViLConfig:
    """Table 2 of the paper, and what its sections 3 and 4 compare; tuples are per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; tables are made for these
    patch_size: tuple[int, ...] = (4, 2, 2, 2)  # cells of the stage before along a side
    in_chans: int = 3  # channels of an image
    embed_dim: tuple[int, ...] = (96, 192, 384, 768)  # channels of a token
    depth: tuple[int, ...] = (1, 2, 8, 1)  # blocks
    num_heads: tuple[int, ...] = (3, 3, 6, 12)
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    local: tuple[bool, ...] = (True, True, False, False)  # cells see their neighbours, or all
    window_size: tuple[int, ...] = (7, 7, 7, 7)  # cells along a chunk's side
    reach: Reach = "chunks"
    num_globals: tuple[int, ...] = (1, 1, 1, 0)  # tokens that see, and are seen by, all
    shared: bool = True  # local stages project global tokens as they do cells
    position: tuple[Literal["absolute", "relative"], ...] = ("absolute",) * 4
    norm_embed: bool = True  # norm patches
    pool: Literal["token", "mean"] = "mean"  # read the first global token, or the mean of all
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "ViL":
        """Make the backbone, with fresh weights."""
        return ViL(self)

    def grid(self, stage: int) -> Grid:
        """Return the cells of a stage's map."""
        return tuple(side // prod(self.patch_size[: stage + 1]) for side in self.image_size)


TINY = ViLConfig(embed_dim=(48, 96, 192, 384), depth=(1, 1, 9, 1), num_heads=(1, 3, 3, 6))
SMALL = ViLConfig()
MEDIUM_DEEP = ViLConfig(depth=(1, 4, 16, 1))
MEDIUM_WIDE = ViLConfig(embed_dim=(192, 384, 512, 768), num_heads=(3, 6, 8, 12))
BASE_DEEP = ViLConfig(depth=(1, 8, 24, 1))
RELATIVE = ("relative",) * 4
BASE_WIDE = ViLConfig(embed_dim=(192, 384, 768, 1024), num_heads=(3, 6, 12, 16))

VARIANTS = {
    "vil_tiny": TINY,
    "vil_small": SMALL,
    "vil_medium_deep": MEDIUM_DEEP,
    "vil_medium_wide": MEDIUM_WIDE,
    "vil_tiny_rpe": replace(TINY, position=RELATIVE),
    "vil_small_rpe": replace(SMALL, position=RELATIVE),
    "vil_medium_deep_rpe": replace(MEDIUM_DEEP, position=RELATIVE),
    "vil_small_full": replace(SMALL, local=(False,) * 4),
    "vil_medium_deep_384": replace(MEDIUM_DEEP, image_size=(384, 384), window_size=(7, 7, 7, 7)),
    "vil_medium_wide_384": replace(MEDIUM_WIDE, image_size=(384, 384), window_size=(8, 12, 7, 7)),
    "vil_base_deep_384": replace(BASE_DEEP, image_size=(384, 384), window_size=(6, 8, 7, 7)),
    "vil_base_wide_384": replace(BASE_WIDE, image_size=(384, 384), window_size=(8, 8, 7, 7)),
}

CLAIMS = {
    "vil_tiny": Claim(params=6.7, macs=1.43, top1=76.3, source="README"),
    "vil_small": Claim(params=24.6, macs=5.12, top1=82.0, source="README"),
    "vil_medium_deep": Claim(params=39.7, macs=9.1, top1=83.3, source="README"),
    "vil_medium_wide": Claim(params=39.8, macs=11.3, top1=82.9, source="README"),
    "vil_tiny_rpe": Claim(params=6.7, macs=1.43, top1=76.65, source="README"),
    "vil_small_rpe": Claim(params=24.6, macs=5.12, top1=82.39, source="README"),
    "vil_medium_deep_rpe": Claim(params=39.7, macs=9.1, top1=83.52, source="README"),
    "vil_small_full": Claim(params=24.6, macs=6.95, top1=81.9, source="README"),
    "vil_medium_deep_384": Claim(params=39.7, macs=29.4, top1=85.6, source="README"),
    "vil_medium_wide_384": Claim(params=39.8, macs=35.1, top1=84.7, source="README"),
    "vil_base_deep_384": Claim(params=55.7, macs=45.3, top1=86.0, source="README"),
    "vil_base_wide_384": Claim(params=79.0, macs=55.8, top1=86.2, source="README"),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

ATTN, OURS = "layer{#+1}.{2#+1}.attn", "stages.#.blocks.#.attn"
PARTS = ("query", "kv", "proj")

FORMATS = tuple(
    Format(
        name,
        Rule("layer{#+1}.0.proj.*", "stages.#.embed.patch_embed.proj.*"),
        Rule("layer{#+1}.0.norm_embed.*", "stages.#.embed.norm.*"),
        Rule("layer{#+1}.0.cls_token", "stages.#.embed.token"),
        Rule("layer{#+1}.0.cls_pos_embed", "stages.#.embed.token_position"),
        Rule("layer{#+1}.0.x_pos_embed", "stages.#.embed.position.rows"),
        Rule("layer{#+1}.0.y_pos_embed", "stages.#.embed.position.columns"),
        Rule("layer{#+1}.{2#+1}.norm.*", "stages.#.blocks.#.norm1.*"),
        Rule("layer{#+1}.{2#+2}.norm.*", "stages.#.blocks.#.norm2.*"),
        Rule("layer{#+1}.{2#+2}.mlp.*", "stages.#.blocks.#.mlp.*"),
        Rule(f"{ATTN}.local_relative_position_bias_table", f"{OURS}.bias.table"),
        Rule(f"{ATTN}.g2l_relative_position_bias", f"{OURS}.bias.between"),
        Rule(f"{ATTN}.g2g_relative_position_bias", f"{OURS}.bias.among"),
        *(Rule(f"{ATTN}.{part}.*", f"{OURS}.{part}.*") for part in ("qkv", *PARTS)),
        *(Rule(f"{ATTN}.{part}_global.*", f"{OURS}.{part}{to}.*") for part in PARTS),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(f"{ATTN}.relative_position_index",),
        derived=lambda config: {
            f"layer{i + 1}.{2 * j + 1}.attn.relative_position_index": index
            for i, (depth, w) in enumerate(zip(config.depth, config.window_size, strict=True))
            if config.position[i] == "relative"
            for index in [
                # chunk by chunk, where we go row by row
                near_index(w).unflatten(1, (3, w, 3, w)).transpose(2, 3).flatten(1)
                if config.local[i]
                else relative_index(config.grid(i))
            ]
            for j in range(depth)
        },
        copies=lambda config: {
            f"{name}_global.{kind}": f"{name}.{kind}"
            for i, depth in enumerate(config.depth)
            if config.shared and config.local[i] and config.num_globals[i]
            for name in (f"layer{i + 1}.{2 * j + 1}.attn.{p}" for j in range(depth) for p in PARTS)
            for kind in ("weight", "bias")
        },
    )
    for name, to in (("authors", ""), ("authors, not shared", "_global"))  # as in theirs, last wins
)


def near_index(side: int) -> Int[Tensor, "n m"]:
    """Return the number of the offset from each cell of a chunk to each of its surroundings."""
    return offset_index(cells((side,) * 2), cells((3 * side,) * 2) - side, (2 * side,) * 2)


def around(
    grid: Grid, side: int, reach: Reach, device: torch.device
) -> tuple[Int[Tensor, "keys chunks"], Bool[Tensor, "chunks q keys"]]:
    """Return the cells around each chunk of a map, and what its own cells see of them.

    Args:
        grid: of the map, whose cells are numbered; after the last comes what is none of them.
        side: of a chunk, in cells.
        reach: which are seen; unless it is "window", all cells of a chunk see the same (q is 1).
        device: where to make them.
    """
    axes = []
    place = torch.arange(-side, 2 * side, device=device)
    for length in grid:
        first = torch.arange(0, length, side, device=device)[:, None]
        cell = first + place  # chunks places
        seen = (cell >= 0) & (cell < length)
        if reach == "cyclic":
            end = len(first) * side
            seen, cell = (cell < length) | (cell >= end), cell % end
        seen = seen[:, None]
        if reach == "window":
            seen = seen & ((place - place[side : 2 * side, None]).abs() <= side)
        axes.append((cell, seen))
    (row, down), (column, across) = axes
    row, column = row.T[:, None, :, None], column.T[:, None]  # rows columns chunks chunks
    none = (row < 0) | (row >= grid[0]) | (column < 0) | (column >= grid[1])
    index = (row * grid[1] + column).masked_fill(none, prod(grid))
    seen = down[:, None, :, None, :, None] & across[:, None, :, None]
    return index.flatten(2).flatten(0, 1), seen.flatten(4).flatten(2, 3).flatten(0, 1)


class TokenBias(OffsetBias):
    """Biases of offsets between cells, and of global tokens and others (section 3.3)."""

    def __init__(
        self, reach: Grid, num_heads: int, count: int, index: Int[Tensor, "n m"] | None = None
    ) -> None:
        super().__init__(reach, num_heads, index, mode="bilinear")
        self.count = count
        if count:
            self.between = nn.Parameter(torch.empty(2, num_heads, count))  # from globals, to them
            self.among = nn.Parameter(torch.empty(num_heads, count, count))
            nn.init.trunc_normal_(self.between, std=0.02)
            nn.init.trunc_normal_(self.among, std=0.02)

    def of_cells(self, grid: Grid | None = None) -> Float[Tensor, "heads n k"]:
        """Return the bias of cells' queries to global tokens, and to other cells."""
        bias = self(grid)
        if not self.count:
            return bias
        return torch.cat([self.between[1, :, None].expand(-1, bias.shape[1], -1), bias], dim=2)

    def of_globals(self, count: int) -> Float[Tensor, "heads g k"]:
        """Return the bias of global tokens' queries to each other, and to so many cells."""
        return torch.cat([self.among, self.between[0, ..., None].expand(-1, -1, count)], dim=2)


class WholeAttention(TokenMixer):
    """Attention of all tokens to all, for stages whose maps are small."""

    def __init__(self, config: ViLConfig, stage: int) -> None:
        super().__init__()
        c, dim = config, config.embed_dim[stage]
        self.num_heads, self.count = c.num_heads[stage], c.num_globals[stage]
        self.qkv = nn.Linear(dim, 3 * dim)
        relative = c.position[stage] == "relative"
        self.bias = TokenBias(c.grid(stage), self.num_heads, self.count) if relative else None
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix all tokens, the global ones first."""
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x).chunk(3, -1))
        bias = None
        if self.bias is not None:
            bias = self.bias.of_cells(grid)
            if self.count:
                bias = torch.cat([self.bias.of_globals(prod(grid)), bias], dim=1)
            bias = bias[None].to(q.dtype)
        return self.drop(self.proj(merge_heads(self.attend(q, k, v, bias))))


class LongformerAttention(Mixer):
    """Cells attend to cells nearby and to global tokens, global tokens to all (section 3.1)."""

    def __init__(self, config: ViLConfig, stage: int) -> None:
        super().__init__()
        c, dim, heads = config, config.embed_dim[stage], config.num_heads[stage]
        self.num_heads, self.count = heads, c.num_globals[stage]
        self.reach: Reach = c.reach
        w = self.window = c.window_size[stage]
        self.chunks = Windows(c.grid(stage), (w, w), shifted=False, tiling="torchvision")
        self.query, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.shared = c.shared
        if self.count and not c.shared:
            self.query_global, self.kv_global = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
            self.proj_global = nn.Linear(dim, dim)
        self.bias = None
        if c.position[stage] == "relative":
            self.bias = TokenBias((2 * w, 2 * w), heads, self.count, near_index(w))
        self.attend = Attend()
        if self.count:
            self.attend_global = Attend()
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix all tokens, the global ones first."""
        kv = self.kv(x)
        near = self.proj(self.nearby(self.query(x[:, self.count :]), kv, grid))
        if not self.count:
            return self.drop(near)
        query, proj = self.query, self.proj
        if not self.shared:
            query, proj, kv = self.query_global, self.proj_global, self.kv_global(x)
        q, k, v = (
            split_heads(t, self.num_heads) for t in (query(x[:, : self.count]), *kv.chunk(2, -1))
        )
        bias = None if self.bias is None else self.bias.of_globals(prod(grid))[None].to(q.dtype)
        far = proj(merge_heads(self.attend_global(q, k, v, bias)))
        return self.drop(torch.cat([far, near], dim=1))

    def nearby(
        self, q: Float[Tensor, "b n d"], kv: Float[Tensor, "b m e"], grid: Grid
    ) -> Float[Tensor, "b n d"]:
        """Attend from chunks of cells to the cells around them, chunks a part of the head axis."""
        heads, count, order = self.num_heads, self.count, self.chunks(q, grid)
        index, seen = around(grid, self.window, self.reach, q.device)
        index, seen = F.pad(index + count, (0, 0, count, 0)), F.pad(seen, (count, 0), value=True)
        index[:count] = torch.arange(count, device=q.device)[:, None]
        k, v = (
            fold_heads(F.pad(t, (0, 0, 0, 1)).index_select(1, index.flatten()), len(index), heads)
            for t in kv.chunk(2, -1)
        )
        bias = q.new_zeros(()) if self.bias is None else self.bias.of_cells().to(q.dtype)
        bias = torch.where(seen[:, None], bias, -torch.inf).expand(-1, heads, -1, -1)
        chunks = reorder(q, READING, order)
        folded = fold_heads(chunks, self.window**2, heads)
        mixed = merge_heads(self.attend(folded, k, v, bias.flatten(0, 1)[None]))
        return reorder(mixed.reshape(chunks.shape), order, READING)

    def layout(self, x: Tensor, grid: Grid) -> Layout:
        """Return where the cells of each chunk lie, and what they see: global tokens, and cells."""
        count = self.count
        index, _ = around(grid, self.window, self.reach, x.device)
        near = torch.where(index < prod(grid), index + count, -1).T
        keys = torch.cat([torch.arange(count).to(near).expand(len(near), -1), near], dim=1)
        cells = self.chunks(x, grid).layout(grid, self.window**2).queries.to(near)
        queries = torch.where(cells < 0, cells, cells + count)
        return Layout(queries, keys, grid, grid, count)


class Embed(nn.Module):
    """The start of a stage: patches of the map before, with positions, after global tokens."""

    token: Tensor | None
    token_position: Tensor | None

    def __init__(self, config: ViLConfig, stage: int) -> None:
        super().__init__()
        c, dim, count = config, config.embed_dim[stage], config.num_globals[stage]
        before = c.embed_dim[stage - 1] if stage else c.in_chans
        self.patch_embed = PatchEmbed(c.patch_size[stage], before, dim)
        self.norm = nn.LayerNorm(dim, 1e-6) if c.norm_embed else nn.Identity()
        fresh = nn.init.trunc_normal_(torch.empty(2, 1, count, dim), std=0.02)
        self.register_parameter("token", nn.Parameter(fresh[0]) if count else None)
        self.position: RowColumnPosition | None = None
        if c.position[stage] == "absolute":
            self.position = RowColumnPosition(c.grid(stage), dim, mode="bilinear")
        if self.position is None or count:
            place = nn.Parameter(fresh[1]) if self.position else None
            self.register_parameter("token_position", place)
        else:
            self.register_buffer("token_position", fresh[1])  # empty, as in the authors' files
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return global tokens and patches, and the patches' grid."""
        x, grid = self.patch_embed(x)
        x = self.norm(x)
        if self.position is not None:
            x = x + self.position(grid)
        if self.token is not None:
            token = self.token + (0 if self.token_position is None else self.token_position)
            x = torch.cat([token.expand(len(x), -1, -1), x], dim=1)
        return self.drop(x), grid


class ViL(Backbone):
    """A pyramid of transformers, each with its own global tokens, over each other's patches."""

    def __init__(self, config: ViLConfig) -> None:
        super().__init__()
        c = self.config = config
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))

        def block(stage: int, rate: float) -> Block:
            dim = c.embed_dim[stage]
            mix = (LongformerAttention if c.local[stage] else WholeAttention)(c, stage)
            return Block(
                dim, mix, Mlp(dim, int(dim * c.mlp_ratio), drop=c.drop_rate), drop_path=rate
            )

        self.stages = nn.ModuleList(
            Stage(Embed(c, i), [block(i, rate) for rate in islice(rates, depth)])
            for i, depth in enumerate(c.depth)
        )
        self.width, self.head_std = c.embed_dim[-1], 0.02
        self.class_tokens = int(c.pool == "token")
        self.norm = nn.LayerNorm(self.width, 1e-6)
        strides = [prod(c.patch_size[: i + 1]) for i in range(len(c.depth))]
        self.levels = stage_levels(c.embed_dim, strides, c.num_globals)
        self.multiple = strides[-1]
        self.silent = tuple(unread(c))
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        admit(images, self.config.in_chans)
        stride = prod(self.config.patch_size)
        fault, _ = strided(tuple(images.shape[2:]), (stride, stride))
        if fault:
            raise ShapeError(fault)
        trace = Trace(self, taps)
        x, grid = trace.stages(self.stages, images)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0] if self.config.pool == "token" else x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the start and the blocks of each stage, and the last norm."""
        return [*in_depth(self.stages), self.norm]


def unread(config: ViLConfig) -> Iterator[str]:
    """Name what only tokens that nobody reads depend on: cells, or a stage's global tokens."""
    last = len(config.depth) - 1
    for i, depth in enumerate(config.depth):
        at = f"stages.{i}.blocks.{depth - 1}.attn"
        if i < last and config.num_globals[i]:
            yield from (f"{at}.{name}" for name in ("bias.among", "*_global.*"))
        if i == last and config.pool == "token":
            yield f"{at}.bias.table"
            if config.local[i] and not config.shared:
                yield from (f"{at}.{part}.*" for part in PARTS)
