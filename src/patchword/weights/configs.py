"""Other projects' configuration files, read and written.

What a family calls its settings is the family's business; these are the plain transformer's, as
transformers names them, and what timm writes beside its weights.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from patchword.data.frame import Frame
from patchword.errors import ConfigError

TRANSFORMERS = {
    "hidden_size": "embed_dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "patch_size": "patch_size",
    "num_channels": "in_chans",
    "layer_norm_eps": "norm_eps",
}
FIXED = {"hidden_act": "gelu", "qkv_bias": True, "attention_probs_dropout_prob": 0.0}
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def from_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain transformer's settings under our names.

    Raises:
        ConfigError: a setting is missing, or has a value that our networks do not have.
    """
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise ConfigError(
                f"config.json: {name} is {config[name]!r}; only {value!r} is supported"
            )
    try:
        settings = {ours: config[theirs] for theirs, ours in TRANSFORMERS.items()}
        settings["mlp_ratio"] = config["intermediate_size"] / config["hidden_size"]
        size = config["image_size"]
    except KeyError as error:
        raise ConfigError(f"config.json does not say {error}") from None
    settings["image_size"] = [size, size] if isinstance(size, int) else list(size)
    settings["drop_rate"] = config.get("hidden_dropout_prob", 0.0)
    settings["resample"] = "bicubic"
    if config["model_type"] == "deit":
        taught = any("WithTeacher" in name for name in config.get("architectures") or ())
        settings["fresh"] = "truncated"
        settings["prefix"] = ["class", "distillation"] if taught else ["class"]
        settings["registers"] = 0 if taught else 1  # a token that no head reads is a register
    return settings


def to_transformers(
    config: Mapping[str, Any], names: tuple[str, ...], *, distilled: bool
) -> dict[str, Any]:
    """Return settings under transformers' names, class names among them.

    Args:
        config: ours, as plain values.
        names: of the classes.
        distilled: whether there is a distillation token.

    Raises:
        ConfigError: their network has no such setting.
    """
    needed = {*TRANSFORMERS.values(), "pool", "position", "layer_scale", "registers"}
    if not needed <= config.keys():
        raise ConfigError(
            "a config.json of transformers is written for ViT and DeiT alone; name another format"
        )
    plain = config["pool"] == "token" and config["position"] == "learned"
    if not plain or config["layer_scale"] is not None or config["registers"] > int(distilled):
        raise ConfigError("transformers' ViT has a class token, learned positions and no more")
    rows, columns = config["image_size"]
    kind = "DeiT" if distilled else "ViT"
    return {
        "architectures": [f"{kind}ForImageClassification{'WithTeacher' if distilled else ''}"],
        "model_type": kind.lower(),
        **{theirs: config[ours] for theirs, ours in TRANSFORMERS.items()},
        "intermediate_size": int(config["embed_dim"] * config["mlp_ratio"]),
        "image_size": rows if rows == columns else [rows, columns],
        "hidden_dropout_prob": config["drop_rate"],
        **FIXED,
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def from_timm(found: Mapping[str, Any], base: Frame) -> Frame:
    """Return the preprocessing that timm wrote beside a model's weights.

    Args:
        found: its `pretrained_cfg`.
        base: what it leaves out.
    """
    _, rows, columns = found.get("input_size", (3, *base.image_size))
    return replace(
        base,
        image_size=(rows, columns),
        mean=tuple(found.get("mean", base.mean)),
        std=tuple(found.get("std", base.std)),
        crop=found.get("crop_pct", base.crop),
        interpolation=found.get("interpolation", base.interpolation),
    )


def to_timm(model: str, preprocessing: Frame, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what timm writes beside a model's weights."""
    p = preprocessing
    return {
        "architecture": model,
        "num_classes": len(names),
        "label_names": list(names),
        "model_args": {"img_size": list(p.image_size), "in_chans": len(p.mean)},
        "pretrained_cfg": {
            "input_size": [len(p.mean), *p.image_size],
            "interpolation": p.interpolation,
            "crop_pct": p.crop,
            "mean": list(p.mean),
            "std": list(p.std),
            "num_classes": len(names),
        },
    }


def preprocessor_from(found: Mapping[str, Any], base: Frame) -> Frame:
    """Return what transformers' `preprocessor_config.json` says: resized, not cropped."""
    return replace(
        base,
        mean=tuple(found.get("image_mean", base.mean)),
        std=tuple(found.get("image_std", base.std)),
        crop=1.0,
        interpolation=RESAMPLING.get(found.get("resample", 2), "bicubic"),
    )


def preprocessor_to(preprocessing: Frame) -> dict[str, Any]:
    """Return the preprocessing as transformers' `preprocessor_config.json`."""
    p = preprocessing
    rows, columns = p.image_size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "size": {"height": rows, "width": columns},
        "image_mean": list(p.mean),
        "image_std": list(p.std),
        "resample": next(n for n, name in RESAMPLING.items() if name == p.interpolation),
    }
