"""BEiT: a ViT that knows places by offsets, pre-trained to name the visual words of hidden patches.

Paper      Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, arXiv:2106.08254
Reference  github.com/microsoft/unilm, beit/modeling_finetune.py; timm's beit.py; transformers'
           modeling_beit.py
Departures at another image size the biases are read between the authors' geometrically spaced
           offsets, linearly as in timm, where theirs are splines and transformers' evenly spaced
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Trace, block_levels
from patchword.layers import (
    Attend,
    Block,
    ClassToken,
    Grid,
    LearnedPosition,
    Mlp,
    OffsetBias,
    PatchEmbed,
    PatchStem,
    merge_heads,
    ramp,
    relative_index,
    split_heads,
    truncated,
)
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class BEiTConfig:
    """The paper's BEiT-B when it is fine-tuned."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; offsets are learned for these
    patch_size: int = 16  # pixels
    in_chans: int = 3  # channels of an image
    embed_dim: int = 768  # channels of a token
    depth: int = 12  # blocks
    num_heads: int = 12
    mlp_ratio: float = 4.0  # hidden channels of the MLP per channel of a token
    relative: Literal["each", "shared", "none"] = "each"  # biases by offset: each block its own
    absolute: bool = False  # learned positions, as in ViT
    pool: Literal["mean", "token"] = "mean"  # of the patches, normed afterwards; the class token
    layer_scale: float | None = 0.1  # start of LayerScale's factors
    drop_rate: float = 0.0  # dropout: after the positions, each projection and each MLP layer
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0
    norm_eps: float = 1e-6

    def build(self) -> "BEiT":
        """Make the backbone, with fresh weights."""
        return BEiT(self)


BASE = BEiTConfig()
LARGE = BEiTConfig(embed_dim=1024, depth=24, num_heads=16, layer_scale=1e-5)

VARIANTS = {
    "beit_base_patch16_224": BASE,
    "beit_base_patch16_384": replace(BASE, image_size=(384, 384)),
    "beit_large_patch16_224": LARGE,
    "beit_large_patch16_384": replace(LARGE, image_size=(384, 384)),
    "beit_large_patch16_512": replace(LARGE, image_size=(512, 512)),
}

README = "README, pre-trained and first fine-tuned on ImageNet-22k"
CLAIMS = {
    "beit_base_patch16_224": Claim(top1=85.2, source=README),
    "beit_base_patch16_384": Claim(top1=86.8, source=README),
    "beit_large_patch16_224": Claim(top1=87.4, source=README),
    "beit_large_patch16_384": Claim(top1=88.4, source=README),
    "beit_large_patch16_512": Claim(top1=88.6, source=README),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


FORMATS = (
    Format(
        "timm",  # and the authors', who keep the tables of indices too
        Rule("cls_token", "stem.class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("rel_pos_bias.relative_position_bias_table", "bias.table"),
        Rule("blocks.#.attn.relative_position_bias_table", "blocks.#.attn.bias.table"),
        Rule("blocks.#.attn.q_bias", "blocks.#.attn.q_bias"),
        Rule("blocks.#.attn.v_bias", "blocks.#.attn.v_bias"),
        Rule("blocks.#.attn.qkv.*", "blocks.#.attn.qkv.*"),
        Rule("blocks.#.attn.proj.*", "blocks.#.attn.proj.*"),
        Rule("blocks.#.gamma_1", "blocks.#.ls1.gamma"),
        Rule("blocks.#.gamma_2", "blocks.#.ls2.gamma"),
        Rule("blocks.#.norm#.*", "blocks.#.norm#.*"),
        Rule("blocks.#.mlp.*", "blocks.#.mlp.*"),
        Rule("norm.*", "norm.*"),
        Rule("fc_norm.*", "fc_norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(
            "mask_token",
            "rel_pos_bias.relative_position_index",
            "blocks.#.attn.relative_position_index",
        ),
    ),
    Format(
        "transformers",
        Rule("embeddings.cls_token", "stem.class_token.token"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule("encoder.relative_position_bias.relative_position_bias_table", "bias.table"),
        Rule(
            "encoder.layer.#.attention.attention.relative_position_bias.relative_position_bias_table",
            "blocks.#.attn.bias.table",
        ),
        Rule("encoder.layer.#.attention.attention.query.bias", "blocks.#.attn.q_bias"),
        Rule("encoder.layer.#.attention.attention.value.bias", "blocks.#.attn.v_bias"),
        Rule(
            tuple(
                f"encoder.layer.#.attention.attention.{part}.weight"
                for part in ("query", "key", "value")
            ),
            "blocks.#.attn.qkv.weight",
        ),
        Rule("encoder.layer.#.attention.output.dense.*", "blocks.#.attn.proj.*"),
        Rule("encoder.layer.#.lambda_1", "blocks.#.ls1.gamma"),
        Rule("encoder.layer.#.lambda_2", "blocks.#.ls2.gamma"),
        Rule("encoder.layer.#.layernorm_before.*", "blocks.#.norm1.*"),
        Rule("encoder.layer.#.layernorm_after.*", "blocks.#.norm2.*"),
        Rule("encoder.layer.#.intermediate.dense.*", "blocks.#.mlp.fc1.*"),
        Rule("encoder.layer.#.output.dense.*", "blocks.#.mlp.fc2.*"),
        Rule("layernorm.*", "norm.*"),
        Rule("pooler.layernorm.*", "fc_norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("beit.",),
        ignore=(
            "embeddings.mask_token",
            "encoder.relative_position_bias.relative_position_index",
            "encoder.layer.#.attention.attention.relative_position_bias.relative_position_index",
        ),
    ),
    Format(
        "transformers in memory",
        Rule("embeddings.cls_token", "stem.class_token.token"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule("shared_position_bias.relative_position_bias_table", "bias.table"),
        Rule(
            "layers.#.relative_position_bias.relative_position_bias_table",
            "blocks.#.attn.bias.table",
        ),
        Rule("layers.#.attention.q_proj.bias", "blocks.#.attn.q_bias"),
        Rule("layers.#.attention.v_proj.bias", "blocks.#.attn.v_bias"),
        Rule(
            tuple(f"layers.#.attention.{part}_proj.weight" for part in "qkv"),
            "blocks.#.attn.qkv.weight",
        ),
        Rule("layers.#.attention.o_proj.*", "blocks.#.attn.proj.*"),
        Rule("layers.#.lambda_1", "blocks.#.ls1.gamma"),
        Rule("layers.#.lambda_2", "blocks.#.ls2.gamma"),
        Rule("layers.#.layernorm_before.*", "blocks.#.norm1.*"),
        Rule("layers.#.layernorm_after.*", "blocks.#.norm2.*"),
        Rule("layers.#.mlp.fc1.*", "blocks.#.mlp.fc1.*"),
        Rule("layers.#.mlp.fc2.*", "blocks.#.mlp.fc2.*"),
        Rule("layernorm.*", "norm.*"),
        Rule("pooler.layernorm.*", "fc_norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("beit.",),
        ignore=(
            "embeddings.mask_token",
            "shared_position_bias.relative_position_index",
            "layers.#.relative_position_bias.relative_position_index",
        ),
    ),
)


class GridBias(OffsetBias):
    """A learned number per head and offset between cells of a map, and about the class token.

    The table holds the offsets, then the class token's bias to every cell, every cell's to it, and
    its own to itself.
    """

    def __init__(self, grid: Grid, num_heads: int) -> None:
        super().__init__(grid, num_heads, self.numbers(grid))
        self.table = nn.Parameter(torch.zeros(len(self.table) + 3, num_heads))

    def numbers(self, grid: Grid) -> Int[Tensor, "n n"]:
        """Return the rows of the table by query and key, the class token first."""
        offsets = prod(2 * side - 1 for side in grid)
        index = F.pad(relative_index(grid), (1, 0, 1, 0), value=offsets)
        index[1:, 0] += 1
        index[0, 0] += 2
        return index

    def at(self, reach: Grid) -> Float[Tensor, "offsets heads"]:
        """Return the table for another grid: near offsets kept, far ones spread."""
        offsets = self.table[:-3].unflatten(0, tuple(2 * side - 1 for side in self.reach))
        for axis, (old, new) in enumerate(zip(self.reach, reach, strict=True)):
            offsets = stretched(offsets, axis, old, new)
        return torch.cat([offsets.flatten(0, 1), self.table[-3:]])


def stretched(
    table: Float[Tensor, "... heads"], axis: int, old: int, new: int
) -> Float[Tensor, "... heads"]:
    """Read a table of 2 old - 1 offsets along an axis at 2 new - 1 of them.

    The old offsets are laid 1, q, q^2, ... cells apart on both sides of 0, with the ratio q at
    which they cover the new grid: what is near stays as near as it was.
    """
    if old == new:
        return table
    if old == 1:
        return table.repeat_interleave(2 * new - 1, axis)
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        far = sum(ratio**i for i in range(old - 1)) > new - 1
        low, high = (low, ratio) if far else (ratio, high)
    apart = list(accumulate(low**i for i in range(old - 1)))
    known = torch.tensor([*(-x for x in reversed(apart)), 0.0, *apart], device=table.device)
    wanted = torch.arange(1.0 - new, new, device=table.device)
    right = torch.searchsorted(known, wanted).clamp(1, 2 * old - 2)
    share = (wanted - known[right - 1]) / (known[right] - known[right - 1])
    share = share.clamp(0, 1).view(-1, *[1] * (table.ndim - 1 - axis)).to(table.dtype)
    return torch.lerp(table.index_select(axis, right - 1), table.index_select(axis, right), share)


class BEiTAttention(nn.Module):
    """Self-attention with a bias by offset; keys have no bias of their own, as in the paper."""

    def __init__(self, config: BEiTConfig, grid: Grid) -> None:
        super().__init__()
        dim, self.num_heads = config.embed_dim, config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.bias = GridBias(grid, config.num_heads) if config.relative == "each" else None
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(config.drop_rate)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        grid: Grid,
        queries: int | None = None,
        shared: Float[Tensor, "heads n n"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """Mix tokens.

        Args:
            x: n tokens per image, the class token first.
            grid: the cells that the others are.
            queries: answer for the first k tokens alone; for all n where it is None.
            shared: biases where the block has none of its own.
        """
        dim, none = x.shape[-1], torch.zeros_like(self.q_bias)
        if queries is None:
            bias = torch.cat([self.q_bias, none, self.v_bias])
            q, k, v = F.linear(x, self.qkv.weight, bias).chunk(3, -1)
        else:
            q = F.linear(x[:, :queries], self.qkv.weight[:dim], self.q_bias)
            bias = torch.cat([none, self.v_bias])
            k, v = F.linear(x, self.qkv.weight[dim:], bias).chunk(2, -1)
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        bias = shared if self.bias is None else self.bias(grid)
        bias = None if bias is None else bias[None, :, :queries]
        return self.drop(self.proj(merge_heads(self.attend(q, k, v, bias))))


class BEiTBlock(Block):
    """ViT's block, with biases that it may be handed."""

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        grid: Grid,
        queries: int | None = None,
        shared: Float[Tensor, "heads n n"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """Mix between tokens, then transform each; the arguments are the attention's."""
        mixed = self.attn(self.norm1(x), grid, queries, shared)
        x = x[:, :queries] + self.drop_path1(self.ls1(mixed))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class BEiT(Backbone):
    """ViT with relative positions and LayerScale, read by the mean of its patches."""

    def __init__(self, config: BEiTConfig) -> None:
        super().__init__()
        c = self.config = config
        rows, columns = (-(-side // c.patch_size) for side in c.image_size)
        position = None
        if c.absolute:
            position = LearnedPosition((rows, columns), c.embed_dim, prefix=1, mode="bicubic")
        patches = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.stem = PatchStem(patches, position, ClassToken(c.embed_dim), drop=c.drop_rate)
        self.bias = GridBias((rows, columns), c.num_heads) if c.relative == "shared" else None
        self.blocks = nn.ModuleList(
            BEiTBlock(
                c.embed_dim,
                BEiTAttention(c, (rows, columns)),
                Mlp(c.embed_dim, int(c.embed_dim * c.mlp_ratio), drop=c.drop_rate),
                drop_path=rate,
                layer_scale=c.layer_scale,
                eps=c.norm_eps,
            )
            for rate in ramp(c.drop_path_rate, c.depth)
        )
        norms = [nn.LayerNorm(c.embed_dim, c.norm_eps), nn.Identity()]
        self.norm, self.fc_norm = reversed(norms) if c.pool == "mean" else norms
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size, c.patch_size))
        self.width, self.head_std = c.embed_dim, 2e-5  # 0.02, scaled down by the authors' script
        self.apply(truncated)
        for depth, block in enumerate(self.blocks, start=1):
            for last in ("attn.proj.weight", "mlp.fc2.weight"):
                block.get_parameter(last).data /= (2 * depth) ** 0.5

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        shared = None if self.bias is None else self.bias(grid)
        token = self.config.pool == "token"
        for i, block in enumerate(self.blocks):
            last = i + 1 == len(self.blocks)
            x = block(x, grid, 1 if last and token and not taps else None, shared)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(self.fc_norm(x[:, 0] if token else x[:, 1:].mean(dim=1)))

    def spine(self) -> list[nn.Module]:
        """Return the stem with the biases of all blocks, the blocks and the last norm."""
        stem = [self.stem] if self.bias is None else [self.stem, self.bias]
        return [nn.ModuleList(stem), *self.blocks, nn.ModuleList([self.norm, self.fc_norm])]
