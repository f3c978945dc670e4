"""LocalViT beside its authors' own tensors; no live peer runs, so its plain form is elsewhere."""

from dataclasses import replace

from patchword.models.localvit import LocalViTConfig
from tests.parity.golden import of_classifier

SE = LocalViTConfig(
    image_size=(32, 48),
    patch_size=8,
    embed_dim=24,
    depth=4,
    num_heads=3,
    mlp_ratio=2.0,
    reduction=4,
)

TINY = {
    "se": SE,
    "relu6": replace(SE, act="relu6", excite=None, in_chans=1),
    "eca": replace(SE, excite="eca", qkv_bias=False, image_size=(40, 24)),
    "ecah": replace(SE, excite="ecah", mlp_ratio=6.0, patch_size=4, image_size=(16, 16)),
    "not_local": replace(SE, excite=None, depthwise=False),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


ACT = {1: ("relu6", None), 2: ("hs", None), 3: ("hs", "se"), 4: ("hs", "eca"), 5: ("hs", "ecah")}


def config(golden):
    kwargs = golden.kwargs
    side = kwargs.get("img_size", 224)
    act, excite = ACT[min(kwargs.get("act", 3), 5)]
    return LocalViTConfig(
        image_size=(side, side),
        patch_size=kwargs.get("patch_size", 16),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        act=act,
        excite=excite,
        reduction=kwargs.get("reduction", 4),
        depthwise=not kwargs.get("wo_dp_conv", False),
        qkv_bias="blocks.0.attn.qkv.bias" in golden.weights,
    )


GOLDENS = {
    "orig_localvit_": of_classifier("localvit", "authors", config),
    **dict.fromkeys(("orig_localvit_pvt_", "orig_localvit_tnt_", "orig_localvit_swin_")),  # planned
}
