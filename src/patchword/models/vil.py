"""ViL: Multi-Scale Vision Longformer, windows that slide and a few tokens that see everything.

Paper      Zhang et al., "Multi-Scale Vision Longformer: A New Vision Transformer for
           High-Resolution Image Encoding", ICCV 2021, arXiv:2103.15358
Reference  github.com/microsoft/vision-longformer, src/models/msvit.py and layers/
Departures no random shifting (a way to train faster; the network that it yields is this one); at
           another image size, which theirs refuses, tables are resampled as their loader does
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
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
    OffsetBias,
    PatchEmbed,
    Reach,
    RowColumnPosition,
    cells,
    from_windows,
    hidden,
    merge_heads,
    neighbourhoods,
    offsets,
    ramp,
    split_heads,
    strided,
    to_map,
    to_windows,
    truncated,
)
from patchword.weights import Format, Rule


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

ATTN, OURS = "layer{#+1}.{2#+1}.attn", "stages.#.#.attn"
PARTS = ("query", "kv", "proj")

FORMATS = tuple(
    Format(
        name,
        Rule("layer{#+1}.0.proj.*", "embeds.#.patch_embed.proj.*"),
        Rule("layer{#+1}.0.norm_embed.*", "embeds.#.norm.*"),
        Rule("layer{#+1}.0.cls_token", "embeds.#.token"),
        Rule("layer{#+1}.0.cls_pos_embed", "embeds.#.token_position"),
        Rule("layer{#+1}.0.x_pos_embed", "embeds.#.position.rows"),
        Rule("layer{#+1}.0.y_pos_embed", "embeds.#.position.columns"),
        Rule("layer{#+1}.{2#+1}.norm.*", "stages.#.#.norm1.*"),
        Rule("layer{#+1}.{2#+2}.norm.*", "stages.#.#.norm2.*"),
        Rule("layer{#+1}.{2#+2}.mlp.*", "stages.#.#.mlp.*"),
        Rule(f"{ATTN}.local_relative_position_bias_table", f"{OURS}.bias.table"),
        Rule(f"{ATTN}.g2l_relative_position_bias", f"{OURS}.bias.between"),
        Rule(f"{ATTN}.g2g_relative_position_bias", f"{OURS}.bias.among"),
        *(Rule(f"{ATTN}.{part}.*", f"{OURS}.{part}.*") for part in ("qkv", *PARTS)),
        *(Rule(f"{ATTN}.{part}_global.*", f"{OURS}.{part}{to}.*") for part in PARTS),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(f"{ATTN}.relative_position_index",),
        derived=lambda config: {
            f"layer{i + 1}.{2 * j + 1}.attn.relative_position_index": index(config, i)
            for i, depth in enumerate(config.depth)
            if config.position[i] == "relative"
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


def index(config: ViLConfig, stage: int) -> Int[Tensor, "n m"]:
    """Return where the authors look for biases: chunk by chunk, where we go row by row."""
    w, grid = config.window_size[stage], config.grid(stage)
    if not config.local[stage]:
        return offsets(cells(*grid), cells(*grid), grid)
    found = offsets(cells(w), cells(3 * w) - w, (2 * w, 2 * w))
    return found.unflatten(1, (3, w, 3, w)).transpose(2, 3).flatten(1)


class WholeAttention(nn.Module):
    """Attention of all tokens to all, for stages whose maps are small."""

    def __init__(self, config: ViLConfig, stage: int) -> None:
        super().__init__()
        c, dim = config, config.embed_dim[stage]
        self.num_heads, self.count = c.num_heads[stage], c.num_globals[stage]
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias: OffsetBias | None = None
        if c.position[stage] == "relative":
            self.bias = OffsetBias(c.grid(stage), self.num_heads, self.count)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix all tokens, the global ones first."""
        q, k, v = (split_heads(t, self.num_heads) for t in self.qkv(x).chunk(3, -1))
        bias = None
        if self.bias is not None:
            bias = self.bias.of_cells(cells(*grid), cells(*grid), grid)
            if self.count:
                bias = torch.cat([self.bias.of_globals(prod(grid)), bias], dim=1)
            bias = bias[None].to(q.dtype)
        return self.drop(self.proj(merge_heads(self.attend(q, k, v, bias))))


class LongformerAttention(nn.Module):
    """Cells attend to cells nearby and to global tokens, global tokens to all (section 3.1)."""

    def __init__(self, config: ViLConfig, stage: int) -> None:
        super().__init__()
        c, dim, heads = config, config.embed_dim[stage], config.num_heads[stage]
        self.num_heads, self.count = heads, c.num_globals[stage]
        self.reach: Reach = c.reach
        w = self.window = c.window_size[stage]
        self.query, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.shared = c.shared
        if self.count and not c.shared:
            self.query_global, self.kv_global = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
            self.proj_global = nn.Linear(dim, dim)
        self.bias: OffsetBias | None = None
        if c.position[stage] == "relative":
            self.bias = OffsetBias((2 * w, 2 * w), heads, self.count)
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
        (rows, columns), w, heads, count = grid, self.window, self.num_heads, self.count
        q = F.pad(q.unflatten(1, grid), (0, 0, 0, -columns % w, 0, -rows % w))
        padded = (q.shape[1], q.shape[2])
        q = to_windows(q, (w, w)).unflatten(3, (heads, -1)).permute(0, 3, 1, 2, 4)
        chunks = q.shape[2]
        around = neighbourhoods(kv[:, count:].unflatten(1, grid), w, cyclic=self.reach == "cyclic")
        around = around.unflatten(3, (2, heads, -1)).permute(3, 0, 4, 1, 2, 6, 7, 5)
        around = around.flatten(5, 6).flatten(3, 4)  # (k v) b heads chunks keys c
        if count:
            glob = kv[:, :count].unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4)
            glob = glob[:, :, :, None].expand(-1, -1, -1, chunks, -1, -1)
            around = torch.cat([glob, around], dim=4)
        k, v = around.flatten(2, 3)
        bias = F.pad(hidden(grid, w, self.reach, q), (count, 0))  # chunks (cells) keys
        if self.bias is None:
            bias = bias.repeat(heads, 1, 1)
        else:
            known = self.bias.of_cells(cells(w), cells(3 * w) - w, (2 * w, 2 * w))
            bias = (known[:, None].to(q.dtype) + bias).flatten(0, 1)
        x = self.attend(q.flatten(1, 2), k, v, bias[None])
        x = x.unflatten(1, (heads, chunks)).permute(0, 2, 3, 1, 4).flatten(3)
        return from_windows(x, (w, w), padded)[:, :rows, :columns].flatten(1, 2)


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
        dims, stages = c.embed_dim, range(len(c.depth))
        rates = iter(ramp(c.drop_path_rate, sum(c.depth)))

        def block(stage: int) -> Block:
            mix = (LongformerAttention if c.local[stage] else WholeAttention)(c, stage)
            mlp = Mlp(dims[stage], int(dims[stage] * c.mlp_ratio), drop=c.drop_rate)
            return Block(dims[stage], mix, mlp, drop_path=next(rates))

        self.embeds = nn.ModuleList(Embed(c, i) for i in stages)
        self.stages = nn.ModuleList(
            nn.ModuleList(block(i) for _ in range(c.depth[i])) for i in stages
        )
        self.norm = nn.LayerNorm(dims[-1], 1e-6)
        strides = [prod(c.patch_size[: i + 1]) for i in stages]
        levels = [Level(f"stages.{i}", dims[i], (s, s)) for i, s in enumerate(strides)]
        self.levels = (*levels, replace(levels[-1], name="final"))
        self.width, self.head_std = dims[-1], 0.02
        self.silent = tuple(unread(c))
        self.apply(truncated)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        stride = prod(self.config.patch_size)
        fault, _ = strided(tuple(images.shape[2:]), (stride, stride))
        if fault and images.shape[1] == self.config.in_chans:
            raise ShapeError(fault)
        x, grid = self.embeds[0](images)
        for i, stage in enumerate(self.stages):
            if i:
                x, grid = self.embeds[i](to_map(x, grid))
            for block in stage.children():
                x = block(x, grid)
            trace.tokens(f"stages.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x[:, 0] if self.config.pool == "token" else x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the start and the blocks of each stage, and the last norm."""
        pairs = zip(self.embeds, self.stages, strict=True)
        return [*(part for embed, stage in pairs for part in (embed, *stage.children())), self.norm]


def unread(config: ViLConfig) -> Iterator[str]:
    """Name what only tokens that nobody reads depend on: cells, or a stage's global tokens."""
    last = len(config.depth) - 1
    for i, depth in enumerate(config.depth):
        at = f"stages.{i}.{depth - 1}.attn"
        if i < last and config.num_globals[i]:
            yield from (f"{at}.{name}" for name in ("bias.among", "*_global.*"))
        if i == last and config.pool == "token":
            yield f"{at}.bias.table"
            if config.local[i] and not config.shared:
                yield from (f"{at}.{part}.*" for part in PARTS)
