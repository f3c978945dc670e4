"""LR-Net beside a plain form of its formulas (tests/parity/test_plain_lrnet.py): it has no other.

The golden of a third party's code departs from the paper, as its note says: it is no oracle.
"""

from dataclasses import replace

from patchword.models.lrnet import LRNetConfig

SMALL = LRNetConfig(
    image_size=(32, 24),
    stem_dim=16,
    embed_dim=(16, 24),
    depth=(1, 2),
    ratio=0.5,
    kernel_size=3,
    share=4,
)

TINY = {
    "product": SMALL,
    "absolute": replace(SMALL, similarity="absolute", kernel_size=5, depth=(1, 1)),
    "squared": replace(SMALL, similarity="squared", ratio=0.4, share=5, in_chans=2),
}
FIXED = ()
QUICK = {}
GOLDENS = {}


def peers(name, config, num_classes):
    return []
