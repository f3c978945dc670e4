"""The names that others give the tensors of DINOv2's transformers, with registers and without.

Where there are registers, a position is stored for the class token, which ours has within the
token: there it is added when read, and 0 when written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from patchword.weights.configs import Kind
from patchword.weights.formats import Format, Tensors
from patchword.weights.plain import ACTS, whatever
from patchword.weights.rules import Rule, View
from patchword.weights.settings import (
    Choice,
    Only,
    Ours,
    Same,
    Setting,
    Sides,
    Values,
    field,
    unsayable,
)

CLASS, TABLE = "backbone.stem.prefix.class_token", "backbone.stem.position.table"
PADDED = View(lambda t: t, lambda table: torch.cat([torch.zeros_like(table[:, :1]), table], dim=1))
ON_DISK = {
    **{part: f"attention.{part}" for part in ("query", "key", "value")},
    "output": "output.dense",
}
IN_MEMORY = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}


class Registered(Format):
    """Names of a network with registers, whose class token has a position of its own."""

    def load(self, theirs: Tensors, config: Any = None) -> dict[str, Tensor]:
        """Return their tensors under a classifier's names; arguments and errors as `Format`'s."""
        ours = super().load(theirs, config)
        if not ours.keys() >= {CLASS, TABLE}:
            return ours
        table = ours[TABLE]
        return ours | {CLASS: ours[CLASS] + table[:, :1], TABLE: table[:, 1:]}


def transformers_format(name: str, names: Mapping[str, str], *, registers: bool) -> Format:
    """Return transformers' names, by what a file or a module calls the parts of attention."""
    layer = "encoder.layer.#"
    parts = tuple(f"{layer}.attention.{names[part]}.*" for part in ("query", "key", "value"))
    made = Registered if registers else Format
    return made(
        name,
        Rule("embeddings.cls_token", "stem.prefix.class_token"),
        *[Rule("embeddings.register_tokens", "stem.prefix.registers")] * registers,
        Rule(
            "embeddings.position_embeddings", "stem.position.table", PADDED if registers else None
        ),
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule(f"{layer}.norm#.*", "blocks.#.norm#.*"),
        Rule(parts, "blocks.#.attn.qkv.*"),
        Rule(f"{layer}.attention.{names['output']}.*", "blocks.#.attn.proj.*"),
        Rule(f"{layer}.layer_scale#.lambda1", "blocks.#.ls#.gamma"),
        Rule(f"{layer}.mlp.*", "blocks.#.mlp.*"),
        Rule("layernorm.*", "norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=("dinov2_with_registers." if registers else "dinov2.",),
        ignore=("embeddings.mask_token",),
        derived=masked,
    )


def masked(config: Any) -> Tensors:
    """Return the token of masked patches, which only a training without labels reads."""
    return {"embeddings.mask_token": torch.zeros(1, config.embed_dim)}


AUTHORS = Registered(
    "authors",
    Rule("cls_token", "stem.prefix.class_token"),
    Rule("register_tokens", "stem.prefix.registers"),
    Rule("pos_embed", "stem.position.table", PADDED),
    Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
    Rule("blocks.#.*", "blocks.#.*"),
    Rule("norm.*", "norm.*"),
)

FORMATS = (  # those without registers first: the others know their names as well
    transformers_format("transformers DINOv2", ON_DISK, registers=False),
    transformers_format("transformers DINOv2 in memory", IN_MEMORY, registers=False),
    transformers_format("transformers registers", ON_DISK, registers=True),
    transformers_format("transformers registers in memory", IN_MEMORY, registers=True),
    AUTHORS,
)


@dataclass(frozen=True)
class Ratio(Setting):
    """Hidden channels as a multiple, which is whole in their file and need not be in ours."""

    theirs: str = "mlp_ratio"

    def read(self, theirs: Values) -> dict[str, Any]:
        return {"mlp_ratio": float(field(theirs, self.theirs))}

    def write(self, ours: Values) -> dict[str, Any]:
        ratio = ours["mlp_ratio"]
        if ratio != int(ratio):
            unsayable("mlp_ratio", ratio, "whole numbers")
        return {self.theirs: int(ratio)}


def settings(pool: str, *tokens: Setting) -> tuple[Setting, ...]:
    """Return the settings of transformers' DINOv2, by what is read and which tokens there are."""
    return (
        Same("hidden_size", "embed_dim"),
        Same("num_hidden_layers", "depth"),
        Same("num_attention_heads", "num_heads"),
        Same("patch_size", "patch_size"),
        Same("num_channels", "in_chans"),
        Same("layer_norm_eps", "norm_eps"),
        Same("layerscale_value", "layer_scale", 1.0),
        Same("hidden_dropout_prob", "drop_rate", 0.0),
        Ratio(),
        Sides(),
        Choice("hidden_act", "act", ACTS, "gelu"),
        Ours("prefix", ["class"]),
        Ours("pool", pool),
        Ours("norm_pooled", False),
        Only("qkv_bias", True),
        Only("use_swiglu_ffn", False),
        Only("attention_probs_dropout_prob", 0.0),
        *tokens,
    )


PLAIN = (Ours("registers", 0), Ours("position", "learned"), Ours("resample", "bicubic", whatever))
REGISTERED = (
    Same("num_register_tokens", "registers", 4),
    Ours("position", "learned_patches"),
    Ours("resample", "bicubic_antialias", whatever),
)
UNREAD = ("initializer_range", "drop_path_rate", "apply_layernorm", "reshape_hidden_states")
CONFIGS = tuple(
    Kind(model_type, f"{prefix}{suffix}", settings(pool, *tokens), unread, format_)
    for model_type, prefix, tokens, unread, named in (
        ("dinov2", "Dinov2", PLAIN, (*UNREAD, "use_mask_token"), "transformers DINOv2"),
        (
            *("dinov2_with_registers", "Dinov2WithRegisters", REGISTERED, UNREAD),
            "transformers registers",
        ),
    )
    for suffix, pool, format_ in (
        ("ForImageClassification", "both", named),
        ("Model", "token", None),  # has no head, so nothing is written so
    )
)
