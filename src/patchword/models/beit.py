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
    KeylessLinear,
    LearnedPosition,
    Mlp,
    OffsetBias,
    PatchEmbed,
    PatchStem,
    TokenMixer,
    merge_heads,
    projected,
    ramp,
    relative_index,
    split_heads,
    truncated,
)
from patchword.weights import Format, Rule, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Choice, Hidden, Only, Same, Scale, Sides


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


def transformers_format(name: str, names: dict[str, str]) -> Format:
    """Return transformers' names, which are others in a file than in a module."""
    table, index = "relative_position_bias_table", "relative_position_index"
    weights = tuple(f"{names[part]}.weight" for part in ("query", "key", "value"))
    return Format(
        name,
        Rule("embeddings.cls_token", "stem.class_token.token"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule(f"{names['shared']}.{table}", "bias.table"),
        *within(
            names["layer"],
            "blocks.#",
            Rule(f"{names['bias']}.{table}", "attn.bias.table"),
            Rule((f"{names['query']}.bias", f"{names['value']}.bias"), "attn.qkv.qv_bias"),
            Rule(weights, "attn.qkv.weight"),
            Rule("lambda_#", "ls#.gamma"),
            *modules({"layernorm_before": "norm1", "layernorm_after": "norm2"}),
            *modules({names["output"]: "attn.proj"}),
            *modules({names["fc1"]: "mlp.fc1", names["fc2"]: "mlp.fc2"}),
        ),
        *modules({"layernorm": "norm", "pooler.layernorm": "fc_norm"}),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("beit.",),
        ignore=(
            "embeddings.mask_token",
            f"{names['shared']}.{index}",
            f"{names['layer']}.{names['bias']}.{index}",
        ),
    )


FORMATS = (
    Format(
        "timm",  # and the authors', who keep the tables of indices too
        Rule("cls_token", "stem.class_token.token"),
        Rule("pos_embed", "stem.position.table"),
        Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
        Rule("rel_pos_bias.relative_position_bias_table", "bias.table"),
        *within(
            "blocks.#",
            "blocks.#",
            Rule("attn.relative_position_bias_table", "attn.bias.table"),
            Rule("gamma_#", "ls#.gamma"),
            Rule("attn.qkv.weight", "attn.qkv.weight"),
            Rule(("attn.q_bias", "attn.v_bias"), "attn.qkv.qv_bias"),
            *modules({part: part for part in ("attn.proj", "norm#", "mlp")}),
        ),
        *modules({"norm": "norm", "fc_norm": "fc_norm"}),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(
            "mask_token",
            "rel_pos_bias.relative_position_index",
            "blocks.#.attn.relative_position_index",
        ),
    ),
    transformers_format(
        "transformers",
        {
            "shared": "encoder.relative_position_bias",
            "layer": "encoder.layer.#",
            "bias": "attention.attention.relative_position_bias",
            **{part: f"attention.attention.{part}" for part in ("query", "key", "value")},
            "output": "attention.output.dense",
            **{"fc1": "intermediate.dense", "fc2": "output.dense"},
        },
    ),
    transformers_format(
        "transformers in memory",
        {
            **{
                "shared": "shared_position_bias",
                "layer": "layers.#",
                "bias": "relative_position_bias",
            },
            **{part: f"attention.{part[0]}_proj" for part in ("query", "key", "value")},
            **{"output": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"},
        },
    ),
)

CONFIGS = (
    Kind(
        "beit",
        "BeitForImageClassification",
        (
            Same("hidden_size", "embed_dim"),
            Same("num_hidden_layers", "depth"),
            Same("num_attention_heads", "num_heads"),
            Same("patch_size", "patch_size"),
            Same("num_channels", "in_chans", 3),
            Same("layer_norm_eps", "norm_eps", 1e-12),
            Same("hidden_dropout_prob", "drop_rate", 0.0),
            Same("drop_path_rate", "drop_path_rate", 0.1),
            Same("use_absolute_position_embeddings", "absolute", False),
            Hidden(),
            Sides(),
            Choice(
                ("use_relative_position_bias", "use_shared_relative_position_bias"),
                "relative",
                {(True, False): "each", (False, True): "shared", (False, False): "none"},
                False,
            ),
            Choice("use_mean_pooling", "pool", {True: "mean", False: "token"}, True),
            Scale("layer_scale_init_value", "layer_scale"),
            Only("hidden_act", "gelu"),
            Only("attention_probs_dropout_prob", 0.0),
        ),
        unread=(
            *("initializer_range", "vocab_size", "use_mask_token", "add_fpn"),
            *("pool_scales", "reshape_hidden_states", "semantic_loss_ignore_index"),
            *("use_auxiliary_head", "auxiliary_loss_weight", "auxiliary_channels"),
            *("auxiliary_num_convs", "auxiliary_concat_input"),
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


class BEiTAttention(TokenMixer):
    """Self-attention with a bias by offset; keys have no bias of their own, as in the paper."""

    def __init__(self, config: BEiTConfig, grid: Grid) -> None:
        super().__init__()
        dim, self.num_heads = config.embed_dim, config.num_heads
        self.qkv = KeylessLinear(dim)
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
        q, k, v = (split_heads(t, self.num_heads) for t in projected(self.qkv, x, queries))
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
        self.levels = block_levels(c.depth, c.embed_dim, (c.patch_size, c.patch_size), 1)
        self.multiple = c.patch_size
        self.class_tokens = int(c.pool == "token")
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
