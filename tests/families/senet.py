"""SENet beside timm's."""

from patchword.models.senet import SENetConfig
from tests.families import resnet

SMALL = {"stem_dim": 8, "image_size": (32, 24)}

TINY = {
    "basic": SENetConfig(embed_dim=(8, 16), depth=(1, 2), block="basic", **SMALL),
    "bottleneck": SENetConfig(embed_dim=(16, 32), depth=(2, 1), in_chans=2, **SMALL),
    "grouped": SENetConfig(
        embed_dim=(16, 32), depth=(1, 2), groups=4, expansion=2, reduction=2, **SMALL
    ),
}
FIXED = ()

QUICK = {
    "seresnet18": {"image_size": (64, 96)},
    "seresnet50": {"image_size": (65, 47), "depth": (1, 2, 1, 1)},
    "seresnext50_32x4d": {"image_size": (64, 96), "depth": (1, 1, 1, 1)},
}
GOLDENS = {}


def peers(name, config, num_classes):
    return [lambda: resnet.timm_s(name, config, num_classes)]
