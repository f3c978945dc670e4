"""LocalViT-Swin beside its authors' own tensors."""

from patchword.models.localvit_swin import LocalSwinConfig
from tests.families import swin
from tests.parity.golden import of_classifier

TINY = {
    "tiled": LocalSwinConfig(**swin.SMALL),
    "padded": LocalSwinConfig(
        **{**swin.SMALL, "image_size": (36, 54), "window_size": (4, 5), "in_chans": 1}
    ),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    return LocalSwinConfig(**vars(swin.config(golden)))


GOLDENS = {"orig_localvit_swin_": of_classifier("localvit_swin", "authors", config)}
