"""CSWin beside its authors' own tensors; there is no live peer, so its plain form is elsewhere."""

from patchword.models.cswin import CSWinConfig
from tests.parity.golden import of_classifier

SMALL = {"embed_dim": 8, "depth": (1, 1, 2, 1), "num_heads": (2, 2, 4, 4), "mlp_ratio": 2.0}

TINY = {
    "tiled": CSWinConfig(image_size=(64, 96), stripes=(1, 2, 2, None), **SMALL),
    "padded": CSWinConfig(image_size=(64, 96), stripes=(3, 3, 2, None), in_chans=1, **SMALL),
    "wide_stripes": CSWinConfig(
        image_size=(64, 32), stripes=(2, None, 4, 2), qkv_bias=False, **SMALL
    ),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    kwargs = golden.kwargs
    side = kwargs.get("img_size", 224)
    stripes = [*kwargs["split_size"][:3], None]
    for i, stripe in enumerate(stripes):
        if stripe == side // 4 // 2**i:
            stripes[i] = None  # one branch, as where the whole map is one window
    return CSWinConfig(
        image_size=(side, side),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=kwargs["embed_dim"],
        depth=tuple(kwargs["depth"]),
        num_heads=tuple(kwargs["num_heads"]),
        stripes=tuple(stripes),
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        qkv_bias="stage1.0.qkv.bias" in golden.weights,
    )


GOLDENS = {"orig_cswin_": of_classifier("cswin", "authors", config)}
