"""Hybrids beside timm's, and beside Google's own code."""

from functools import partial

import torch

from patchword.models.bit import StdConv
from patchword.models.hybrid import FORMATS, HybridConfig
from tests.families import vit

SMALL = {"stem_dim": 32, **vit.SMALL}

TINY = {
    "stages": HybridConfig(image_size=(32, 48), patch_size=8, stem_depth=(1, 2), **SMALL),
    "stem_alone": HybridConfig(
        image_size=(32, 24), patch_size=8, stem_depth=(), in_chans=2, **SMALL
    ),
    "mean": HybridConfig(
        image_size=(30, 25), patch_size=4, stem_depth=(1,), prefix=(), pool="mean", **SMALL
    ),
}
FIXED = ()

QUICK = {
    "vit_tiny_r_s16_p8_224": {"image_size": (64, 96), "depth": 3},
    "vit_base_r50_s16_224": {"image_size": (64, 48), "depth": 1, "stem_depth": (1, 2, 1)},
    "vit_small_r26_s32_384": {"image_size": (64, 96), "depth": 2},
}


def peers(name, config, num_classes):
    return [lambda: timm_s(config, num_classes)]


def timm_s(config, num_classes):
    """Return timm's network of a configuration; its own names fix the convnet's stages."""
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer_hybrid import _resnetv2

    embed = partial(HybridEmbed, backbone=_resnetv2(config.stem_depth, in_chans=config.in_chans))
    cells = config.patch_size // config.stem_stride
    return vit.timm_sized(config, num_classes, patch_size=cells, embed_layer=embed)


def jax(golden):
    """Answer as Google's hybrid, which adds its small numbers elsewhere than ours."""
    resnet, cells = golden.kwargs["resnet"], golden.kwargs["patches"][0]
    depth = tuple(resnet["num_layers"])
    config = HybridConfig(
        patch_size=cells * 4 * 2 ** max(len(depth) - 1, 0),
        stem_dim=int(64 * resnet["width_factor"]),
        stem_depth=depth,
        group_eps=1e-6,
        **vit.sizes(golden),
    )
    model = vit.google_s(golden, config, FORMATS)
    for part in model.modules():
        if isinstance(part, StdConv):
            part.standardised = partial(standardised, part.weight)
    return {"logits": model(golden.image)}


def standardised(weight):
    variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) / (variance.sqrt() + 1e-5)


GOLDENS = {"orig_vit_jax_hybrid_": jax}
