"""SASA beside a plain form of its formulas (tests/parity/test_plain_sasa.py): it has no other.

The goldens of a third party's code depart from the paper, as their notes say: they are no oracle.
"""

from patchword.models.sasa import SASAConfig

TINY = {
    "attention_stem": SASAConfig(
        image_size=(32, 24),
        stem_dim=8,
        embed_dim=(32, 64),
        depth=(1, 1),
        num_heads=2,
        kernel_size=3,
        stem_mixtures=3,
    ),
    "conv_stem": SASAConfig(
        image_size=(24, 32),
        in_chans=2,
        stem_dim=8,
        embed_dim=(32, 32),
        depth=(1, 2),
        num_heads=2,
        kernel_size=5,
        stem="convolution",
    ),
}
FIXED = ()
QUICK = {}
GOLDENS = {}


def peers(name, config, num_classes):
    return []
