"""DeiT beside timm's and transformers', and beside its authors' own code."""

from dataclasses import replace

from patchword.models.vit import ViTConfig
from tests.families import vit
from tests.parity.golden import of_classifier

TINY = {
    "plain": replace(vit.VIT, fresh="truncated"),
    "distilled": replace(vit.VIT, fresh="truncated", prefix=("class", "distillation")),
}
FIXED = ()

QUICK = {
    "deit_tiny_patch16_224": {"image_size": (96, 64)},
    "deit_tiny_distilled_patch16_224": {"image_size": (96, 96)},
}

peers = vit.peers


def config(golden):
    kwargs = golden.kwargs
    return ViTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs["patch_size"],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        prefix=("class", "distillation") if "distilled" in golden.name else ("class",),
    )


GOLDENS = {"orig_deit_": of_classifier("deit", "timm", config)}
