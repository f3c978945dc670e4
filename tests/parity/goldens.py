"""Reference tensors that the authors' own code made, and our networks with their weights.

A golden is three files: NAME.json says how the network was made and how close to come,
NAME.io.safetensors holds `in.*` and `out.*`, and NAME.safetensors (or NAME.npz, for the JAX code)
the weights. A family joins by a line in `READERS`; a golden that none reads is `planned`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from patchword.heads.classify import Classifier, LinearHead, classifier
from patchword.models.vit import ViTConfig
from patchword.weights import fill
from patchword.weights.plain import TIMM


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one golden."""

    name: str
    outcome: str  # pass, fail or planned
    error: float | None = None  # the largest absolute difference
    tolerance: float | None = None  # absolute, at a value of 0


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))


def check(folder: Path, name: str) -> Verdict:
    """Run our network on a golden's input, and hold its output against the golden's."""
    read = reader(name)
    if read is None:
        return Verdict(name=name, outcome="planned")
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    held = load_file(folder / f"{name}.io.safetensors")
    batch = image(held)
    with torch.no_grad():
        found = read(folder / name, about["kwargs"], batch).eval()(batch)
    wanted, limits = held["out.logits"], about["tolerance"]
    passed = torch.allclose(found, wanted, rtol=limits["rtol"], atol=limits["atol"])
    return Verdict(
        name=name,
        outcome="pass" if passed else "fail",
        error=(found - wanted).abs().max().item(),
        tolerance=limits["atol"],
    )


def image(held: dict[str, Tensor]) -> Tensor:
    """Return a golden's input (b c h w); some are stored channels last, most of them in bytes."""
    name = next(name for name in held if name.startswith("in.image"))
    found = held[name].permute(0, 3, 1, 2) if name.endswith("nhwc") else held[name]
    return (found.float() - 128) / 64 if found.dtype == torch.uint8 else found


def deit(stem: Path, kwargs: dict[str, Any], batch: Tensor) -> Classifier:
    """Make the DeiT that a golden's name says."""
    distilled = "distilled" in stem.name
    config = ViTConfig(
        image_size=tuple(batch.shape[2:]),
        patch_size=kwargs["patch_size"],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        prefix=("class", "distillation") if distilled else ("class",),
    )
    model = classifier(config.build(), kwargs["num_classes"])
    fill(model, TIMM.load(load_file(stem.with_name(f"{stem.name}.safetensors"))))
    return model


def jax_vit(stem: Path, kwargs: dict[str, Any], batch: Tensor) -> Classifier:
    """Make Google's ViT, with the tanh approximation from which ours departs."""
    config = ViTConfig(
        image_size=tuple(batch.shape[2:]),
        patch_size=kwargs["patches"][0],
        in_chans=batch.shape[1],
        embed_dim=kwargs["hidden_size"],
        depth=kwargs["num_layers"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=kwargs["mlp_dim"] / kwargs["hidden_size"],
    )
    model = classifier(config.build(), kwargs["num_classes"])
    if "representation_size" in kwargs:
        hidden = nn.Linear(config.embed_dim, kwargs["representation_size"])
        last = LinearHead(hidden.out_features, kwargs["num_classes"])
        model.head["label"] = nn.Sequential(hidden, nn.Tanh(), last)
    for part in model.modules():
        if isinstance(part, nn.GELU):
            part.approximate = "tanh"
    with np.load(stem.with_name(f"{stem.name}.npz"), allow_pickle=False) as weights:
        fill(model, from_jax(dict(weights), config))
    return model


def from_jax(weights: dict[str, np.ndarray], config: ViTConfig) -> dict[str, Tensor]:
    """Return Google's tensors under our names, their kernels the other way round."""
    given = {name: torch.from_numpy(array) for name, array in weights.items()}
    dim = config.embed_dim
    embedding = given["embedding/kernel"].permute(3, 2, 0, 1)
    ours = {"stem.prefix.class_token": given["cls"], "stem.patch_embed.proj.weight": embedding}
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
    ours = {f"backbone.{name}": tensor for name, tensor in ours.items()}
    if "pre_logits/kernel" in given:
        linear("head.label.0", "pre_logits")
        linear("head.label.2", "head")
    else:
        linear("head.label", "head")
    return ours


Reader = Callable[[Path, dict[str, Any], Tensor], Classifier]
READERS: dict[str, Reader | None] = {  # by the beginning of a golden's name; the longest counts
    "orig_deit_": deit,
    "orig_vit_jax_": jax_vit,
    "orig_vit_jax_hybrid_": None,
}


def reader(name: str) -> Reader | None:
    fits = [beginning for beginning in READERS if name.startswith(beginning)]
    return READERS[max(fits, key=len)] if fits else None
