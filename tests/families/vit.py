"""ViT beside timm's, transformers' and torchvision's, and beside Google's own code."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from patchword.config import dump
from patchword.errors import ConfigError
from patchword.features import Tap
from patchword.heads.classify import LinearHead, classifier
from patchword.models.vit import FORMATS, ViTConfig
from patchword.weights import fill, recognise
from patchword.weights.plain import CONFIGS, TIMM
from patchword.weights.systems import encoder_of
from tests.parity.golden import Golden
from tests.parity.peer import Peer, outputs, split

SMALL = {"embed_dim": 24, "depth": 5, "num_heads": 3, "mlp_ratio": 2.0}
VIT = ViTConfig(image_size=(32, 48), patch_size=8, **SMALL)
MEAN = replace(VIT, prefix=(), pool="mean")

TINY = {
    "token": VIT,
    "mean": MEAN,
    "mean_with_token": replace(VIT, pool="mean"),
    "registers": replace(MEAN, registers=3, position="learned_patches", norm_pooled=True),
    "dinov2_reg": replace(VIT, registers=2, position="learned_patches", layer_scale=0.3),
    "token_and_mean": replace(VIT, registers=2, position="learned_patches", pool="both"),
    "learned_2d": replace(MEAN, position="learned_2d", in_chans=1),
    "sincos_2d": replace(MEAN, position="sincos_2d", patch_size=4, image_size=(16, 12)),
    "no_position": replace(VIT, position="none", in_chans=5),
    "linear_resample": replace(VIT, resample="linear", image_size=(40, 24)),
}
FIXED = ()

QUICK = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch32_384": {"depth": 3},
    "vit_base_patch16_gap_224": {"image_size": (64, 64), "depth": 2},
    "vit_base_patch16_reg4_gap_256": {"image_size": (64, 48), "depth": 2},
    "vit_small_patch14_dinov2": {"image_size": (70, 70), "depth": 3},
    "vit_small_patch14_reg4_dinov2": {"image_size": (70, 70), "depth": 3},
    "vit_giant_patch14_224": {"image_size": (28, 28), "depth": 1},
}


def peers(name, config, num_classes):
    import timm

    own = not timm.is_model(name)  # of our own sizes
    makers = [lambda: timm_sized(config, num_classes) if own else timm_s(name, config, num_classes)]
    if has_transformers(config):
        makers.append(lambda: transformers_s(config, num_classes))
    return makers


def timm_s(name, config, num_classes):
    """Return timm's model of a name."""
    import timm

    size = {"img_size": config.image_size, "depth": config.depth}
    model = timm.create_model(name, num_classes=num_classes, **size)
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def timm_sized(config, num_classes, **parts):
    """Return timm's network of a configuration; `parts` are further arguments of it."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    sizes = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "in_chans": config.in_chans,
        "num_classes": num_classes,
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        **parts,
    }
    if "distillation" in config.prefix:
        model = VisionTransformerDistilled(**sizes)
    else:
        pool = "avg" if config.pool == "mean" else "token"
        token = "class" in config.prefix
        model = VisionTransformer(**sizes, class_token=token, global_pool=pool, fc_norm=False)
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    tokens, levels = model.forward_intermediates(batch, return_prefix_tokens=True)
    taps = {
        f"blocks.{i}": Tap(*level) if isinstance(level, tuple) else Tap(level, tokens[:, :0])
        for i, level in enumerate(levels)
    }
    grid = tuple(taps["blocks.0"].map.shape[2:])
    return model.forward_head(tokens), {**taps, "final": split(tokens, grid)}


def transformers_s(config, num_classes):
    """Return transformers' network of a configuration.

    Raises:
        ConfigError: they have none with these parts.
    """
    names = tuple(f"class {i}" for i in range(num_classes))
    distilled = "distillation" in config.prefix
    kind = CONFIGS[1 if distilled else 0]
    theirs = kind.write(dump(config), names)

    import transformers

    model = getattr(transformers, kind.architecture)(transformers.AutoConfig.for_model(**theirs))

    def see(model, batch):
        with outputs({"final": model.base_model.layernorm}) as seen:
            output = model(batch, output_hidden_states=True)
        grid = tuple(side // config.patch_size for side in batch.shape[2:])
        levels = {f"blocks.{i}": x for i, x in enumerate(output.hidden_states[1:])} | seen
        return output.logits, {name: split(x, grid) for name, x in levels.items()}

    return Peer(
        label="transformers",
        model=model,
        format="transformers in memory" + " distilled" * distilled,
        see=see,
        root=f"{model.base_model_prefix}.",
    )


def has_transformers(config):
    """Tell whether transformers' ViT or DeiT is this network."""
    try:
        with torch.device("meta"):
            transformers_s(replace(config, depth=1), 1)
    except ConfigError:
        return False
    return True


def sizes(golden):
    """Return the settings that Google's arguments give, for a ViT and for a hybrid."""
    kwargs, batch = golden.kwargs, golden.image
    mean = kwargs.get("classifier") == "gap"
    return {
        "image_size": tuple(batch.shape[2:]),
        "in_chans": batch.shape[1],
        "embed_dim": kwargs["hidden_size"],
        "depth": kwargs["num_layers"],
        "num_heads": kwargs["num_heads"],
        "mlp_ratio": kwargs["mlp_dim"] / kwargs["hidden_size"],
        "act": "tanh",
        "prefix": () if mean else ("class",),
        "pool": "mean" if mean else "token",
    }


def google_s(golden, config, formats):
    """Return a classifier with Google's weights."""
    kwargs = golden.kwargs
    model = classifier(config.build(), kwargs["num_classes"])
    if "representation_size" in kwargs:
        hidden = nn.Linear(config.embed_dim, kwargs["representation_size"])
        last = LinearHead(hidden.out_features, kwargs["num_classes"])
        model.head["label"] = nn.Sequential(hidden, nn.Tanh(), last)
    format_ = recognise(formats, golden.weights, config)
    assert format_.name.startswith("google")
    fill(model, format_.load(golden.weights, config))
    back = format_.save(model.state_dict(), config=config)
    assert back.keys() == golden.weights.keys()
    assert all(torch.equal(back[n].flatten(), golden.weights[n].flatten()) for n in back)
    return model.eval()


def jax(golden):
    """Answer as Google's ViT."""
    config = ViTConfig(patch_size=golden.kwargs["patches"][0], **sizes(golden))
    return {"logits": google_s(golden, config, FORMATS)(golden.image)}


def unlabelled(golden, system, resample="bicubic"):
    """Return the backbone of a golden of those who train without labels, filled."""
    kwargs = golden.about["config"]
    kwargs = {**Golden(golden.folder, "dino_vit_orig_a").kwargs, **kwargs}  # where it says "see"
    config = ViTConfig(
        image_size=(kwargs["img_size"], kwargs["img_size"]),
        patch_size=kwargs["patch_size"],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=float(kwargs["mlp_ratio"]),
        resample=resample,
    )
    found = encoder_of(golden.weights)
    assert (found.system.name if found.system else None) == system
    backbone = config.build().eval()
    ours = TIMM.load(found.tensors)
    fill(backbone, {name.removeprefix("backbone."): tensor for name, tensor in ours.items()})
    return backbone


def dino(golden):
    """Answer as DINO's network alone, at other sizes too, and in its last blocks."""
    backbone = unlabelled(golden, None, "bicubic_offset")
    found = {f"y{n}": backbone(golden.held[f"in.x{n}"]).pooled for n in ("", "_small", "_rect")}
    names = [level.name for level in backbone.levels[-3:-1]]
    for i, tap in enumerate(backbone(golden.held["in.x"], taps=names).taps):
        tokens = torch.cat([tap.prefix, tap.map.flatten(2).mT], dim=1)
        found[f"intermediate.{i}"] = backbone.norm(tokens)
    return found


def dino_crops(golden):
    """Answer as DINO's network with its head, each crop by itself."""
    backbone = unlabelled(golden, "DINO", "bicubic_offset")
    crops = [golden.held[f"in.crops.{i}"] for i in range(4)]
    x = torch.cat([backbone(crop).pooled for crop in crops])
    w = {n.removeprefix("head."): t for n, t in golden.weights.items() if n.startswith("head.")}
    for i in (0, 2, 4):
        x = F.linear(x, w[f"mlp.{i}.weight"], w[f"mlp.{i}.bias"])
        x = F.gelu(x) if i < 4 else F.normalize(x, dim=-1)
    return {"y": x @ (w["last_layer.weight_g"] * F.normalize(w["last_layer.weight_v"], dim=1)).T}


def moco(golden):
    """Answer as the query side of MoCo v3: encoder, projector, predictor."""
    backbone = unlabelled(golden, "MoCo v3")
    x, weights = backbone(golden.held["in.x1"]).pooled, golden.weights
    for root in ("base_encoder.head", "predictor"):
        places = {int(n.removeprefix(root).split(".")[1]) for n in weights if n.startswith(root)}
        for i in sorted(places):
            w = {n: weights.get(f"{root}.{i}.{n}") for n in ("weight", "bias", *STATISTICS)}
            if w["running_mean"] is None:
                x = x @ w["weight"].T
                continue
            x = F.batch_norm(x, *(w[n] for n in STATISTICS), w["weight"], w["bias"])
            x = x.relu() if i < max(places) else x
    return {"q1_eval": x, "pos_embed": backbone.stem.position.table}


def mae(golden):
    """Answer as MAE's encoder on the patches that the golden's noise leaves visible."""
    backbone = unlabelled(golden, "MAE")
    x, grid = backbone.stem(golden.held["in.x"])
    order = golden.held["in.noise"].argsort(dim=1)
    kept = order[:, : int(order.shape[1] * (1 - golden.kwargs["mask_ratio"]))]
    rows = torch.arange(len(x))[:, None]
    x = torch.cat([x[:, :1], x[:, 1:][rows, kept]], dim=1)
    for block in backbone.blocks:
        x = block(x, grid)
    return {"latent": backbone.norm(x)}


STATISTICS = ("running_mean", "running_var")
GOLDENS = {
    "orig_vit_jax_": jax,
    "dino_vit_orig_": dino,
    "dino_multicrop_orig_": dino_crops,
    "moco_v3_vit_orig_": moco,
    "mae_orig_": mae,
}
