"""The names that others give the tensors of networks of shifted windows: Swin and its kin."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from patchword.layers import Windows, relative_index
from patchword.weights.formats import Format, Rule, Tensors

LATER = range(1, 8)  # stages after the first, as many as are named one by one
BLOCK = tuple(Rule(f"{part}.*", f"{part}.*") for part in ("norm1", "norm2", "attn.proj", "mlp"))
STEM = (
    Rule("patch_embed.proj.*", "stem.patch_embed.proj.*"),
    Rule("patch_embed.norm.*", "stem.norm.*"),
    Rule("absolute_pos_embed", "stem.position.table"),
)

Own = Callable[[Any, int], Tensors]  # of a config and a stage: what a paper's attention adds


def within(rules: tuple[Rule, ...], theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return rules about a part of a network as rules about the part at its place."""
    return tuple(
        replace(
            rule,
            theirs=tuple(f"{theirs}.{name}" for name in rule.parts),
            ours=f"{ours}.{rule.ours}",
        )
        for rule in rules
    )


def merges(pattern: Callable[[int], str]) -> tuple[Rule, ...]:
    """Return rules about the mergings, by what others call the one that leads into a stage."""
    return tuple(Rule(f"{pattern(i)}.*", f"stages.{i}.merge.*") for i in LATER)


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
        *merges(lambda i: f"layers.{i}.downsample"),
        *STEM,
        *within((*BLOCK, *attention), "layers.#.blocks.#", "stages.#.blocks.#"),
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
        *merges(lambda i: f"layers.{i - 1}.downsample"),
        *STEM,
        *within((*BLOCK, *attention), block, "stages.#.blocks.#"),
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

    mlp = (Rule("mlp.0.*", "mlp.fc1.*"), Rule("mlp.3.*", "mlp.fc2.*"))
    block = (*BLOCK[:-1], *mlp, *attention)
    stages = (within(block, f"features.{2 * i + 1}.#", f"stages.{i}.blocks.#") for i in (0, *LATER))
    return Format(
        "torchvision",
        Rule("features.0.0.*", "stem.patch_embed.proj.*"),
        Rule("features.0.2.*", "stem.norm.*"),
        *merges(lambda i: f"features.{2 * i}"),
        *(rule for stage in stages for rule in stage),
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
        *within(attention, "attention", "attn"),
        Rule("layernorm_before.*", "norm1.*"),
        Rule("layernorm_after.*", "norm2.*"),
        Rule(f"{fc1}.*", "mlp.fc1.*"),
        Rule(f"{fc2}.*", "mlp.fc2.*"),
    )
    layer = "encoder.layers.#.blocks.#"
    return Format(
        name,
        Rule("embeddings.patch_embeddings.projection.*", "stem.patch_embed.proj.*"),
        Rule("embeddings.norm.*", "stem.norm.*"),
        Rule("embeddings.position_embeddings", "stem.position.table"),
        *within(block, layer, "stages.#.blocks.#"),
        *merges(lambda i: f"encoder.layers.{i - 1}.downsample"),
        Rule("layernorm.*", "norm.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        root=(root,),
        ignore=(
            f"{layer}.attention.self.relative_position_index",
            f"{layer}.attention.self.relative_coords_table",
        ),
    )
