"""Axial-DeepLab: of references there are those of its backbone; tests/heads/test_panoptic.py."""

from patchword.heads.axial_deeplab import AxialDeepLabConfig, Decoding
from tests.families import axial, pvtv2, vit

FAMILY = None
SMALL = {
    "semantic": Decoding(channels=12, context=10, low=(4, 6)),
    "instance": Decoding(channels=8, context=10, low=(3, 5)),
    "semantic_channels": 12,
    "instance_channels": 8,
    "things": (0, 1),
    "window": 5,
}
POOLED = Decoding(channels=12, context=10, low=(4,), rates=(1, 2))
AXIAL = (axial.TINY["deep"], AxialDeepLabConfig(**SMALL))  # of one image size
TINY = {
    "pyramid": (pvtv2.TINY["pooled"], AxialDeepLabConfig(**SMALL)),
    "plain": (vit.VIT, AxialDeepLabConfig(**SMALL | {"semantic": POOLED, "levels": ("final",)})),
}
GOLDENS = {
    begin: read for begin, read in axial.GOLDENS.items() if not begin.startswith("orig_")
}  # those in the folder of dense systems
PEERS = {}
