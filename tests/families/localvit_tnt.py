"""LocalViT-TNT beside its authors' own tensors."""

from patchword.models.localvit_tnt import LocalTNTConfig
from tests.parity.golden import of_classifier

SMALL = {"embed_dim": 24, "inner_dim": 12, "depth": 3, "num_heads": 3, "inner_num_heads": 2}

TINY = {
    "plain": LocalTNTConfig(image_size=(32, 48), **SMALL),
    "small_patches": LocalTNTConfig(
        image_size=(32, 24),
        patch_size=8,
        inner_stride=2,
        qkv_bias=True,
        in_chans=1,
        local_ratio=6.0,
        **SMALL,
    ),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    kwargs = golden.kwargs
    return LocalTNTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 16),
        inner_stride=kwargs.get("first_stride", 4),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=kwargs.get("embed_dim", 768),
        inner_dim=kwargs.get("in_dim", 48),
        depth=kwargs.get("depth", 12),
        num_heads=kwargs.get("num_heads", 12),
        inner_num_heads=kwargs.get("in_num_head", 4),
        local_ratio=float(kwargs.get("mlp_ratio", 4)),
        qkv_bias="blocks.0.attn_out.v.bias" in golden.weights,
    )


GOLDENS = {"orig_localvit_tnt_": of_classifier("localvit_tnt", "authors", config)}
