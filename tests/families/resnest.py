"""ResNeSt beside timm's."""

from patchword.models.resnest import ResNeStConfig
from tests.families import resnet

SMALL = {"stem_dim": 8, "image_size": (32, 24)}

TINY = {
    "plain": ResNeStConfig(embed_dim=(16, 32), depth=(1, 2), **SMALL),
    "grouped": ResNeStConfig(
        embed_dim=(128, 256),
        depth=(1, 1),
        radix=4,
        groups=2,
        base_width=40,
        pool_first=True,
        **SMALL,
    ),
    "one_split": ResNeStConfig(
        embed_dim=(32, 64), depth=(2, 1), radix=1, groups=2, base_width=24, in_chans=2, **SMALL
    ),
}
FIXED = ()

QUICK = {
    "resnest14d": {"image_size": (65, 97)},
    "resnest101e": {"image_size": (64, 64), "depth": (1, 2, 1, 1)},
    "resnest50d_4s2x40d": {"image_size": (96, 64), "depth": (1, 1, 1, 1)},
    "resnest50d_1s4x24d": {"image_size": (96, 64), "depth": (1, 1, 2, 1)},
}
GOLDENS = {}


def peers(name, config, num_classes):
    return [lambda: resnet.timm_s(name, config, num_classes)]
