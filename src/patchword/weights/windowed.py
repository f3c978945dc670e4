"""The names that others give the tensors of networks of shifted windows: Swin and its kin."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from patchword.layers import Windows, relative_index
from patchword.weights.formats import Format, Tensors
from patchword.weights.rules import Rule, modules, within
from patchword.weights.settings import Only, Ours, Same, Setting, Sides, Spread, Values

BLOCK = modules({part: part for part in ("norm1", "norm2", "attn.proj", "mlp")})
STEM = (
    *modules({"patch_embed.proj": "stem.patch_embed.proj", "patch_embed.norm": "stem.norm"}),
    Rule("absolute_pos_embed", "stem.position.table"),
)

Own = Callable[[Any, int], Tensors]  # of a config and a stage: what a paper's attention adds


def tables(config: Any, i: int, own: Own | None) -> dict[str, Tensor]:
    """Return what others keep of a stage's windows beside the weights of their attention."""
    extra = {} if own is None else own(config, i)
    return {"relative_position_index": relative_index(config.windows[i]), **extra}


def formats(*attention: Rule, own: Own | None = None) -> tuple[Format, Format, Format]:
    """Return timm's names, the authors' and torchvision's, in all of which attention is alike.

    Args:
        attention: about a block's attention.
        own: what the paper's attention keeps beside its weights, and its index.
    """
    return (
        timm_format(attention),
        authors_format(attention, own),
        torchvision_format(attention, own),
    )


def timm_format(attention: tuple[Rule, ...]) -> Format:
    """Return timm's names; `attention` are about a block's attention."""
    return Format(
        "timm",
        *STEM,
        *within("layers.#.blocks.#", "stages.#.blocks.#", *BLOCK, *attention),
        Rule("layers.#.downsample.*", "stages.#.merge.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.fc.*", "head.label.*"),),
    )


def authors_format(attention: tuple[Rule, ...], own: Own | None = None) -> Format:
    """Return the authors' names: their stages end in a merging, and keep tables and masks."""

    def derived(config: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for i, window in enumerate(config.windows):
            shifted = Windows(config.grids[i], window, shifted=True, tiling=config.tiling)
            for j in range(config.depth[i]):
                block = f"layers.{i}.blocks.{j}"
                kept = tables(config, i, own)
                found |= {f"{block}.attn.{name}": tensor for name, tensor in kept.items()}
                if j % 2 and shifted.seams is not None:
                    found[f"{block}.attn_mask"] = shifted.seams
        return found

    block = "layers.#.blocks.#"
    return Format(
        "authors",
        *STEM,
        *within(block, "stages.#.blocks.#", *BLOCK, *attention),
        Rule("layers.{#-1}.downsample.*", "stages.#.merge.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(
            f"{block}.attn.relative_position_index",
            f"{block}.attn.relative_coords_table",
            f"{block}.attn_mask",
        ),
        derived=derived,
    )


def torchvision_format(attention: tuple[Rule, ...], own: Own | None = None) -> Format:
    """Return torchvision's names: stages and mergings in turn in one list."""

    def derived(config: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for i, depth in enumerate(config.depth):
            kept = tables(config, i, own)
            kept["relative_position_index"] = kept["relative_position_index"].flatten()
            for j in range(depth):
                block = f"features.{2 * i + 1}.{j}.attn"
                found |= {f"{block}.{name}": tensor for name, tensor in kept.items()}
        return found

    mlp = modules({"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"})
    return Format(
        "torchvision",
        *modules({"features.0.0": "stem.patch_embed.proj", "features.0.2": "stem.norm"}),
        *within("features.{2#+1}.#", "stages.#.blocks.#", *BLOCK[:-1], *mlp, *attention),
        Rule("features.{2#}.*", "stages.#.merge.*"),
        Rule("norm.*", "norm.*"),
        head=(Rule("head.*", "head.label.*"),),
        ignore=(
            "features.#.#.attn.relative_position_index",
            "features.#.#.attn.relative_coords_table",
        ),
        derived=derived,
    )


def transformers_format(
    name: str, root: str, attention: tuple[Rule, ...], *, fc1: str, fc2: str
) -> Format:
    """Return transformers' names, of which a file's and a module's may differ.

    Args:
        name: of the format.
        root: what stands before the backbone's names.
        attention: about a block's attention.
        fc1: their name of the MLP's first layer.
        fc2: of its second.
    """
    block = (
        *within("attention", "attn", *attention),
        *modules({"layernorm_before": "norm1", "layernorm_after": "norm2"}),
        *modules({fc1: "mlp.fc1", fc2: "mlp.fc2"}),
    )
    layer = "encoder.layers.#.blocks.#"
    return Format(
        name,
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule("embeddings.norm.*", "stem.norm.*"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        *within(layer, "stages.#.blocks.#", *block),
        Rule("encoder.layers.{#-1}.downsample.*", "stages.#.merge.*"),
        Rule("layernorm.*", "norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=(root,),
        ignore=(
            f"{layer}.attention.self.relative_position_index",
            f"{layer}.attention.self.relative_coords_table",
        ),
    )


def tiled(config: Values) -> bool:
    """Tell whether all rules agree: windows tile each grid, and shift along both axes or none."""
    for stage, window in enumerate(config["window_size"]):
        rows, columns = (
            -(-side // (config["patch_size"] << stage)) for side in config["image_size"]
        )
        if rows % window or columns % window or (rows > window) != (columns > window):
            return False
    return True


WINDOWED: tuple[Setting, ...] = (
    Same("num_channels", "in_chans", 3),
    Same("patch_size", "patch_size"),
    Same("embed_dim", "embed_dim"),
    Same("depths", "depth"),
    Same("num_heads", "num_heads"),
    Spread("window_size", "window_size"),
    Same("mlp_ratio", "mlp_ratio", 4.0),
    Same("qkv_bias", "qkv_bias", True),
    Same("hidden_dropout_prob", "drop_rate", 0.0),
    Same("drop_path_rate", "drop_path_rate", 0.1),
    Sides(),
    Ours("tiling", "authors", tiled),
    Ours("patch_norm", True),
    Only("hidden_act", "gelu"),
    Only("layer_norm_eps", 1e-5),
    Only("attention_probs_dropout_prob", 0.0),
)
UNREAD = ("initializer_range", "encoder_stride")
