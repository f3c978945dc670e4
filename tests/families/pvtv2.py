"""PVT v2 beside timm's and transformers', and beside its authors' own code."""

from dataclasses import replace

from torch import nn

from patchword.models.pvtv2 import PVTv2Config
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

SMALL = PVTv2Config(
    image_size=(32, 64),
    embed_dim=(8, 12, 16, 20),
    depth=(1, 1, 1, 1),
    num_heads=(1, 2, 2, 2),
    mlp_ratio=(2.0, 2.0, 2.0, 2.0),
)

TINY = {
    "strided": SMALL,
    "pooled": replace(
        SMALL,
        in_chans=1,
        patch_size=(7, 3),
        stride=(4, 2),
        embed_dim=(8, 12),
        depth=(1, 2),
        num_heads=(1, 3),
        mlp_ratio=(2.0, 1.5),
        sr_ratio=(8, 4),
        pool_size=3,
    ),
}
FIXED = ()

QUICK = {
    "pvt_v2_b0": {"image_size": (64, 96)},
    "pvt_v2_b2": {"image_size": (71, 45), "depth": (1, 2, 1, 1)},
    "pvt_v2_b2_li": {"image_size": (64, 64), "depth": (1, 2, 1, 1)},
}


def peers(name, config, num_classes):
    theirs = [lambda: transformers_s(config, num_classes)]
    if timm_has(config):
        theirs.insert(0, lambda: timm_s(name, config, num_classes))
    return theirs


def timm_has(config):
    """Tell whether timm has such patches: it has those of the paper alone."""
    return (config.patch_size[0], config.stride[0]) == (7, 4)


def steps(config):
    """Return the pixels per cell of each level."""
    found, step = {}, 1
    for i, stride in enumerate(config.stride):
        step *= stride
        found[f"stages.{i}"] = step
    return found | {"final": step}


def levels(config, batch, seen):
    """Return tokens as maps."""
    return {
        name: split(
            tokens[0] if isinstance(tokens, tuple) else tokens,
            tuple(-(-side // steps(config)[name]) for side in batch.shape[2:]),
        )
        for name, tokens in seen.items()
    }


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name, num_classes=num_classes, depths=config.depth, in_chans=config.in_chans
    )

    def see(model, batch):
        *lower, last = model.stages
        parts = {f"stages.{i}": stage.norm for i, stage in enumerate(lower)}
        parts |= {f"stages.{len(lower)}": last.blocks[-1], "final": last.norm}
        with outputs(parts) as seen:
            logits = model(batch)
        return logits, levels(config, batch, seen)

    return Peer(label="timm", model=model, format="timm", see=see)


def transformers_s(config, num_classes):
    """Return transformers' network, with the authors' epsilon where cells are merged."""
    from transformers import PvtV2Config, PvtV2ForImageClassification

    model = PvtV2ForImageClassification(
        PvtV2Config(
            image_size=config.image_size,
            num_channels=config.in_chans,
            depths=config.depth,
            num_encoder_blocks=len(config.depth),
            sr_ratios=config.sr_ratio,
            hidden_sizes=config.embed_dim,
            patch_sizes=config.patch_size,
            strides=config.stride,
            num_attention_heads=config.num_heads,
            mlp_ratios=[int(ratio) for ratio in config.mlp_ratio],
            layer_norm_eps=config.norm_eps,
            linear_attention=config.pool_size is not None,
            num_labels=num_classes,
        )
    )
    for part, module in model.named_modules():
        merges = part.endswith(("patch_embedding.layer_norm", "attention.layer_norm"))
        if merges and isinstance(module, nn.LayerNorm):
            module.eps = config.reduce_norm_eps

    def see(model, batch):
        *lower, last = model.pvt_v2.encoder.layers
        parts = {f"stages.{i}": stage.layer_norm for i, stage in enumerate(lower)}
        parts |= {f"stages.{len(lower)}": last.blocks[-1], "final": last.layer_norm}
        with outputs(parts) as seen:
            logits = model(batch).logits
        return logits, levels(config, batch, seen)

    return Peer(label="transformers", model=model, format="transformers", see=see, root="pvt_v2.")


def config(golden):
    kwargs = golden.kwargs
    return PVTv2Config(
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=tuple(kwargs.get("embed_dims", (64, 128, 256, 512))),
        depth=tuple(kwargs.get("depths", (3, 4, 6, 3))),
        num_heads=tuple(kwargs.get("num_heads", (1, 2, 4, 8))),
        mlp_ratio=tuple(map(float, kwargs.get("mlp_ratios", (4, 4, 4, 4)))),
        sr_ratio=tuple(kwargs.get("sr_ratios", (8, 4, 2, 1))),
        pool_size=7 if kwargs.get("linear") else None,
    )


GOLDENS = {"orig_pvt_v2_": of_classifier("pvtv2", "authors", config)}
