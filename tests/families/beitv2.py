"""BEiT v2 beside timm's."""

from dataclasses import replace

from tests.families import beit

TINY = {"each": replace(beit.BEIT, layer_scale=0.2)}
FIXED = ()
QUICK = {
    "beitv2_base_patch16_224": {"image_size": (64, 64), "depth": 2},
}
GOLDENS = {}

peers = beit.peers
