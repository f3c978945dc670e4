"""CeiT beside its authors' own tensors; there is no live peer, so its plain form is elsewhere."""

from patchword.models.ceit import CeiTConfig
from tests.parity.golden import of_classifier

SMALL = {"stem_dim": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "mlp_ratio": 2.0}

TINY = {
    "plain": CeiTConfig(image_size=(48, 32), **SMALL),
    "wide_kernels": CeiTConfig(
        image_size=(24, 32), patch_size=2, local_size=5, qkv_bias=False, in_chans=1, **SMALL
    ),
    "no_local_norm": CeiTConfig(image_size=(32, 32), local_norm=False, **SMALL),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    kwargs = golden.kwargs
    side = kwargs.get("img_size", 224)
    return CeiTConfig(
        image_size=(side, side),
        in_chans=kwargs.get("in_chans", 3),
        stem_dim=kwargs.get("stem", 64),
        patch_size=kwargs.get("patch_size", 4),
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        local_size=kwargs.get("leff_local_size", 3),
        local_norm=kwargs.get("leff_with_bn", True),
        qkv_bias="blocks.0.attn.qkv.bias" in golden.weights,
    )


GOLDENS = {"orig_ceit_": of_classifier("ceit", "authors", config)}
