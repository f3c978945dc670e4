"""MiT beside transformers'; its authors' own code is met with its decoder, by the head."""

from dataclasses import replace

from torch import nn

from patchword.models.pvtv2 import PVTv2Config
from tests.families import pvtv2
from tests.parity.peer import Peer, outputs

TINY = {"narrow": replace(pvtv2.SMALL, image_size=(64, 32), mlp_ratio=(1.5, 1.0, 1.0, 1.0))}
FIXED = ()

QUICK = {
    "mit_b0": {"image_size": (64, 96)},
    "mit_b2": {"image_size": (71, 45), "depth": (1, 2, 1, 1)},
}


def peers(name, config, num_classes):
    return [lambda: transformers_s(config, num_classes)]


def transformers_s(config, num_classes):
    """Return transformers' network, with the authors' epsilon in the norms of blocks and stages."""
    from transformers import SegformerConfig, SegformerForImageClassification

    model = SegformerForImageClassification(
        SegformerConfig(
            num_channels=config.in_chans,
            depths=config.depth,
            sr_ratios=config.sr_ratio,
            hidden_sizes=config.embed_dim,
            patch_sizes=config.patch_size,
            strides=config.stride,
            num_attention_heads=config.num_heads,
            mlp_ratios=[int(ratio) for ratio in config.mlp_ratio],
            num_labels=num_classes,
        )
    )
    for part, module in model.named_modules():
        merges = "patch_embeddings" in part or "sequence_reduction" in part
        if isinstance(module, nn.LayerNorm):
            module.eps = config.reduce_norm_eps if merges else config.norm_eps

    def see(model, batch):
        *lower, last = model.segformer.stages
        parts = {f"stages.{i}": stage.layer_norm for i, stage in enumerate(lower)}
        parts |= {f"stages.{len(lower)}": last.blocks[-1], "final": last.layer_norm}
        with outputs(parts) as seen:
            logits = model(batch).logits
        return logits, pvtv2.levels(config, batch, seen)

    return Peer(
        label="transformers",
        model=model,
        format="transformers in memory",
        see=see,
        root="segformer.",
    )


def config(golden):
    """Return the settings that the authors' arguments give."""
    kwargs = golden.about["config"]
    ratio, stages = kwargs["mlp_ratios"], len(kwargs["depths"])
    return PVTv2Config(
        embed_dim=tuple(kwargs["embed_dims"]),
        depth=tuple(kwargs["depths"]),
        num_heads=tuple(kwargs["num_heads"]),
        mlp_ratio=tuple(map(float, ratio if isinstance(ratio, list) else [ratio] * stages)),
        sr_ratio=tuple(kwargs["sr_ratios"]),
    )


GOLDENS = {}  # the authors' is of the whole segmenter: tests/heads/segformer.py
