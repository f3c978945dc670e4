"""DeiT III beside timm's."""

from patchword.models.deit3 import DeiT3Config
from tests.families import vit

TINY = {
    "plain": DeiT3Config(image_size=(32, 48), patch_size=8, **vit.SMALL),
    "shallow": DeiT3Config(
        image_size=(24, 16), patch_size=4, in_chans=1, embed_dim=16, depth=3, num_heads=2
    ),
}
FIXED = ()

QUICK = {
    "deit3_small_patch16_384": {"image_size": (96, 64), "depth": 3},
    "deit3_medium_patch16_224": {"image_size": (64, 64), "depth": 2},
}
GOLDENS = {}


def peers(name, config, num_classes):
    return [lambda: vit.timm_s(name, config, num_classes)]
