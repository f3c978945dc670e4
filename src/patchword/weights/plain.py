"""The names that others give the tensors of a plain transformer: ViT, DeiT and their kin."""

from typing import Any

from patchword.weights.configs import Kind
from patchword.weights.formats import Format
from patchword.weights.rules import Rule, multihead
from patchword.weights.settings import Choice, Hidden, Only, Ours, Same, Setting, Sides, Values

TIMM = Format(
    "timm",
    Rule("cls_token", "stem.prefix.class_token"),
    Rule("dist_token", "stem.prefix.distillation_token"),
    Rule("reg_token", "stem.prefix.registers"),
    Rule("pos_embed", "stem.position.table"),
    Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
    Rule("blocks.#.*", "blocks.#.*"),
    Rule("norm.*", "norm.*"),
    Rule("fc_norm.*", "fc_norm.*"),
    head=(Rule("head.*", "head.label.*"), Rule("head_dist.*", "head.distillation.*")),
)


PATCHES = Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*")


def transformers_format(
    name: str, layer: str, names: dict[str, str], *patches: Rule, distilled: bool = False
) -> Format:
    """Return transformers' names: a file's and a module's differ, and so do DeiT's two heads.

    `patches` are about the tensors that cut them, where these are more than a convolution's.
    """
    attention = tuple(f"{layer}.#.attention.{names[part]}.*" for part in ("query", "key", "value"))
    token = "stem.prefix.distillation_token" if distilled else "stem.prefix.registers"
    return Format(
        name,
        Rule("embeddings.cls_token", "stem.prefix.class_token"),
        Rule("embeddings.distillation_token", token),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        *(patches or (PATCHES,)),
        Rule(f"{layer}.#.layernorm_before.*", "blocks.#.norm1.*"),
        Rule(attention, "blocks.#.attn.qkv.*"),
        Rule(f"{layer}.#.attention.{names['output']}.*", "blocks.#.attn.proj.*"),
        Rule(f"{layer}.#.layernorm_after.*", "blocks.#.norm2.*"),
        Rule(f"{layer}.#.{names['fc1']}.*", "blocks.#.mlp.fc1.*"),
        Rule(f"{layer}.#.{names['fc2']}.*", "blocks.#.mlp.fc2.*"),
        Rule("layernorm.*", "norm.*"),
        head=(
            Rule("cls_classifier.*" if distilled else "classifier.*", "head.label.*"),
            Rule("distillation_classifier.*", "head.distillation.*"),
        ),
        root=("deit.", "vit.") if distilled else ("vit.", "deit."),
        ignore=("pooler.*",),
    )


ON_DISK = {
    **{part: f"attention.{part}" for part in ("query", "key", "value")},
    "output": "output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
IN_MEMORY = {
    **{"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"},
    **{"fc1": "mlp.fc1", "fc2": "mlp.fc2"},
}


def torchvision_format(*patches: Rule) -> Format:
    """Return torchvision's names; `patches` are about the tensors that cut them."""
    layer = "encoder.layers.encoder_layer_#"
    return Format(
        "torchvision",
        Rule("class_token", "stem.prefix.class_token"),
        Rule("encoder.pos_embedding", "stem.position.table"),
        *patches,
        Rule(f"{layer}.ln_1.*", "blocks.#.norm1.*"),
        *multihead(f"{layer}.self_attention", "blocks.#.attn"),
        Rule(f"{layer}.ln_2.*", "blocks.#.norm2.*"),
        Rule(f"{layer}.mlp.0.*", "blocks.#.mlp.fc1.*"),
        Rule(f"{layer}.mlp.3.*", "blocks.#.mlp.fc2.*"),
        Rule("encoder.ln.*", "norm.*"),
        head=(Rule("heads.head.*", "head.label.*"),),
    )


FORMATS = (
    TIMM,
    torchvision_format(Rule("conv_proj.*", "stem.patch_embed.proj.*")),
    transformers_format("transformers", "encoder.layer", ON_DISK),
    transformers_format("transformers distilled", "encoder.layer", ON_DISK, distilled=True),
    transformers_format("transformers in memory", "layers", IN_MEMORY),
    transformers_format("transformers in memory distilled", "layers", IN_MEMORY, distilled=True),
)


def whatever(config: Values) -> bool:
    """Tell that a setting does not change what the network answers."""
    return True


def tokens(prefix: list[str], registers: int, *more: Setting) -> tuple[Setting, ...]:
    """Return the settings of transformers' ViT and DeiT, which differ in their tokens."""
    return (
        Same("hidden_size", "embed_dim"),
        Same("num_hidden_layers", "depth"),
        Same("num_attention_heads", "num_heads"),
        Same("patch_size", "patch_size"),
        Same("num_channels", "in_chans"),
        Same("layer_norm_eps", "norm_eps"),
        Same("hidden_dropout_prob", "drop_rate", 0.0),
        Hidden(),
        Sides(),
        Choice("hidden_act", "act", ACTS, "gelu"),
        Ours("prefix", prefix),
        Ours("registers", registers),
        Ours("pool", "token"),
        Ours("norm_pooled", False),
        Ours("position", "learned"),
        Ours("layer_scale", None),
        Ours("resample", "bicubic", whatever),
        Only("qkv_bias", True),
        Only("attention_probs_dropout_prob", 0.0),
        *more,
    )


ACTS: dict[Any, str] = {"gelu": "exact", "gelu_pytorch_tanh": "tanh", "gelu_new": "tanh"}
UNREAD = ("initializer_range", "encoder_stride", "pooler_output_size", "pooler_act")
DEIT = Ours("fresh", "truncated", whatever)
CONFIGS = (
    Kind("vit", "ViTForImageClassification", tokens(["class"], 0), UNREAD),
    Kind(
        "deit",
        "DeiTForImageClassificationWithTeacher",
        tokens(["class", "distillation"], 0, DEIT),
        UNREAD,
        "transformers distilled",
    ),
    Kind(  # its distillation token is a register, as no head reads it
        "deit", "DeiTForImageClassification", tokens(["class"], 1, DEIT), UNREAD
    ),
)
