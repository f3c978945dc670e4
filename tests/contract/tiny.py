"""Tiny networks, at least one of every family and one for every part it can have.

A family joins the contract by a line here; the tests take it from there.
"""

from dataclasses import replace

import torch

from patchword.models.vit import ViTConfig
from patchword.models.vitc import ViTCConfig

BASE = {"embed_dim": 24, "depth": 5, "num_heads": 3, "mlp_ratio": 2.0}
VIT = ViTConfig(image_size=(32, 48), patch_size=8, **BASE)
MEAN = replace(VIT, prefix=(), pool="mean")

TINY = {
    "vit": {
        "token": VIT,
        "mean": MEAN,
        "mean_with_token": replace(VIT, pool="mean"),
        "registers": replace(MEAN, registers=3, position="learned_patches", norm_pooled=True),
        "dinov2_reg": replace(VIT, registers=2, position="learned_patches", layer_scale=0.3),
        "learned_2d": replace(MEAN, position="learned_2d", in_chans=1),
        "sincos_2d": replace(MEAN, position="sincos_2d", patch_size=4, image_size=(16, 12)),
        "no_position": replace(VIT, position="none", in_chans=5),
        "linear_resample": replace(VIT, resample="linear", image_size=(40, 24)),
    },
    "deit": {
        "plain": replace(VIT, fresh="truncated"),
        "distilled": replace(VIT, fresh="truncated", prefix=("class", "distillation")),
    },
    "vitc": {
        "mean": ViTCConfig(
            image_size=(32, 24),
            patch_size=4,
            prefix=(),
            pool="mean",
            channels=(8, 16),
            strides=(2, 2),
            **BASE,
        ),
        "token": ViTCConfig(
            image_size=(36, 30), patch_size=4, channels=(8, 16), strides=(2, 2), **BASE
        ),
    },
}
CONFIGS = {f"{family}-{kind}": c for family, kinds in TINY.items() for kind, c in kinds.items()}


def made(config):
    """Make a backbone whose every tensor counts, in evaluation mode."""
    torch.manual_seed(0)
    backbone = config.build()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return backbone.eval()


def images(config, count=2, size=None):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, config.in_chans, *(size or config.image_size), generator=generator)
