"""Quadratic attention beside a plain form of it (tests/parity/test_plain_quadratic.py)."""

from dataclasses import replace

from patchword.models.quadratic import QuadraticConfig

SMALL = QuadraticConfig(
    image_size=(8, 12), embed_dim=12, hidden_dim=16, depth=5, num_heads=3, patch_size=2
)

TINY = {
    "matrices": SMALL,
    "isotropic": replace(SMALL, isotropic=True, depth=4, in_chans=1, patch_size=1),
}
FIXED = ()
QUICK = {}
GOLDENS = {}


def peers(name, config, num_classes):
    return []
