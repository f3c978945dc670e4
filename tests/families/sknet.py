"""SKNet beside timm's."""

from patchword.models.sknet import SKNetConfig
from tests.families import resnet

SMALL = {"stem_dim": 8, "image_size": (32, 24)}

TINY = {
    "basic": SKNetConfig(embed_dim=(8, 16), depth=(1, 2), block="basic", **SMALL),
    "bottleneck": SKNetConfig(embed_dim=(16, 32), depth=(2, 1), in_chans=2, **SMALL),
    "grouped": SKNetConfig(
        embed_dim=(16, 32), depth=(1, 2), groups=4, expansion=2, split=False, **SMALL
    ),
}
FIXED = ()

QUICK = {
    "skresnet18": {"image_size": (64, 96)},
    "skresnet50": {"image_size": (65, 97), "depth": (1, 2, 1, 1)},
    "skresnext50_32x4d": {"image_size": (64, 96), "depth": (1, 1, 1, 1)},
}
GOLDENS = {}


def peers(name, config, num_classes):
    return [lambda: resnet.timm_s(name, config, num_classes)]
