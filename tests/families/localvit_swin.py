"""LocalViT-Swin beside its authors' own tensors."""

from patchword.models.localvit_swin import LocalSwinConfig
from tests.parity.golden import of_classifier

SMALL = {"patch_size": 2, "embed_dim": 12, "depth": (3, 2), "num_heads": (2, 3), "mlp_ratio": 2.0}

TINY = {
    "tiled": LocalSwinConfig(image_size=(32, 48), window_size=(4, 4), **SMALL),
    "padded": LocalSwinConfig(image_size=(36, 54), window_size=(4, 5), in_chans=1, **SMALL),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    kwargs = golden.kwargs
    side = kwargs.get("img_size", 224)
    depth = tuple(kwargs.get("depths", (2, 2, 6, 2)))
    return LocalSwinConfig(
        image_size=(side, side),
        patch_size=kwargs.get("patch_size", 4),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=kwargs.get("embed_dim", 96),
        depth=depth,
        num_heads=tuple(kwargs.get("num_heads", (3, 6, 12, 24))),
        window_size=(kwargs.get("window_size", 7),) * len(depth),
        tiling="authors",
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        qkv_bias=kwargs.get("qkv_bias", True),
        patch_norm=kwargs.get("patch_norm", True),
        position="learned" if kwargs.get("ape", False) else "none",
    )


GOLDENS = {"orig_localvit_swin_": of_classifier("localvit_swin", "authors", config)}
