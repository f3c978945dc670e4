"""Google's names of a ViT's tensors, and theirs of a hybrid's."""

import re

import torch
from torch import Tensor

from patchword.models.vit import ViTConfig


def from_jax(given: dict[str, Tensor], config: ViTConfig) -> dict[str, Tensor]:
    """Return Google's tensors under our names, their kernels the other way round."""
    dim = config.embed_dim
    embedding = given["embedding/kernel"].permute(3, 2, 0, 1)
    ours = {"stem.patch_embed.proj.weight": embedding}
    if "cls" in given:
        ours["stem.prefix.class_token"] = given["cls"]
    ours["stem.patch_embed.proj.bias"] = given["embedding/bias"]
    ours["stem.position.table"] = given["Transformer/posembed_input/pos_embedding"]

    def norm(new: str, old: str) -> None:
        ours[f"{new}.weight"], ours[f"{new}.bias"] = given[f"{old}/scale"], given[f"{old}/bias"]

    def linear(new: str, old: str) -> None:
        ours[f"{new}.weight"], ours[f"{new}.bias"] = given[f"{old}/kernel"].T, given[f"{old}/bias"]

    for i in range(config.depth):
        new, old = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        attention = f"{old}/MultiHeadDotProductAttention_1"
        parts = [f"{attention}/{part}" for part in ("query", "key", "value")]
        kernels = [given[f"{part}/kernel"].reshape(dim, dim).T for part in parts]
        ours[f"{new}.attn.qkv.weight"] = torch.cat(kernels)
        ours[f"{new}.attn.qkv.bias"] = torch.cat([given[f"{p}/bias"].flatten() for p in parts])
        ours[f"{new}.attn.proj.weight"] = given[f"{attention}/out/kernel"].reshape(dim, dim).T
        ours[f"{new}.attn.proj.bias"] = given[f"{attention}/out/bias"]
        norm(f"{new}.norm1", f"{old}/LayerNorm_0")
        norm(f"{new}.norm2", f"{old}/LayerNorm_2")
        linear(f"{new}.mlp.fc1", f"{old}/MlpBlock_3/Dense_0")
        linear(f"{new}.mlp.fc2", f"{old}/MlpBlock_3/Dense_1")
    norm("norm", "Transformer/encoder_norm")
    ours |= convnet_from_jax(given)
    ours = {f"backbone.{name}": tensor for name, tensor in ours.items()}
    if "pre_logits/kernel" in given:
        linear("head.label.0", "pre_logits")
        linear("head.label.2", "head")
    else:
        linear("head.label", "head")
    return ours


def convnet_from_jax(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a hybrid's convnet, if there are any, under our names."""
    staged = any(name.startswith("block") for name in given)
    ours: dict[str, Tensor] = {}
    for name, tensor in given.items():
        found = re.fullmatch(r"(?:block(\d+)/unit(\d+)/)?(conv|gn)(\w+?)/(\w+)", name)
        if found is None:
            continue
        stage, unit, part, which, kind = found.groups()
        which = which.strip("_")
        if which == "root":
            place = "stem.conv" if staged else "conv"
        else:
            place = "shortcut" if which == "proj" else f"branch.{int(which) - 1}"
            place = f"stages.{int(stage) - 1}.{int(unit) - 1}.{place}"
        part = "conv" if part == "conv" else "norm"
        kind = "bias" if kind == "bias" else "weight"
        tensor = tensor.permute(3, 2, 0, 1) if part == "conv" else tensor.flatten()
        ours[f"stem.patch_embed.convnet.{place}.{part}.{kind}"] = tensor
    return ours
