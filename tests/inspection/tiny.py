"""Small networks whose every tensor counts, and images for them."""

from dataclasses import replace

import torch

from patchword.heads.classify import classifier
from patchword.models.swin import SwinConfig
from patchword.models.vit import ViTConfig

VIT = ViTConfig(image_size=(8, 12), patch_size=4, embed_dim=16, depth=3, num_heads=4)
MEAN = replace(VIT, prefix=(), pool="mean")
SWIN = SwinConfig(
    image_size=(16, 32),
    patch_size=2,
    embed_dim=8,
    depth=(2, 2),
    num_heads=(2, 4),
    window_size=(4, 4),
)


def perturbed(config, classes=None, std=0.2):
    """Return a backbone, or a classifier, of which no weight is zero, in evaluation mode."""
    torch.manual_seed(0)
    model = config.build() if classes is None else classifier(config.build(), classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return model.eval()


def images(config, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, config.in_chans, *config.image_size, generator=generator)
