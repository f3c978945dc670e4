"""Tiny networks, at least one of every family and one for every part it can have."""

import math

import torch

from tests.families import FAMILIES

TINY = {name: family.TINY for name, family in FAMILIES.items()}
CONFIGS = {f"{family}-{kind}": c for family, kinds in TINY.items() for kind, c in kinds.items()}
FIXED = {f"{family}-{kind}" for family, it in FAMILIES.items() for kind in it.FIXED}


def made(config):
    """Make a backbone whose every tensor counts, in evaluation mode."""
    torch.manual_seed(0)
    backbone = config.build()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for name, buffer in backbone.named_buffers():
            if name.endswith("running_mean"):
                buffer += 0.2 * torch.randn_like(buffer)
            elif name.endswith("running_var"):
                buffer *= (0.2 * torch.randn_like(buffer)).exp()
    return backbone.eval()


def coarsest(backbone):
    """Return the pixels that every level's stride divides, along each axis."""
    strides = [level.stride for level in backbone.levels if level.stride is not None]
    return tuple(math.lcm(*steps) for steps in zip(*strides, strict=True)) if strides else (16, 16)


def uneven(backbone):
    """Return image sides of a few of the coarsest cells, which no stride above 1 divides."""
    rows, columns = coarsest(backbone)
    return 2 * rows + 3, columns + 9


def images(config, count=2, size=None):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, config.in_chans, *(size or config.image_size), generator=generator)
