"""DeepViT beside its authors' own code; the plain form is in tests/parity/plain_deepvit.py."""

from dataclasses import replace

from patchword.models.deepvit import DeepViTConfig
from tests.parity.golden import of_classifier

DEEPVIT = DeepViTConfig(
    image_size=(32, 48), patch_size=8, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2.0
)
TINY = {
    "reattention": DEEPVIT,
    "mixed": replace(DEEPVIT, plain_depth=1, image_size=(24, 16), patch_size=4, in_chans=1),
    "small": replace(DEEPVIT, plain_depth=1, patches="convolved", shrink=0.5, scaled=True),
}
FIXED = ()
QUICK = {}


def peers(name, config, num_classes):
    return []


def config(golden):
    kwargs, dim = golden.kwargs, golden.kwargs["embed_dim"]
    flags = kwargs["apply_transform"]
    plain = flags.index(True) if True in flags else len(flags)
    assert all(flags[plain:]), "the first blocks alone are plain"
    return DeepViTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 16),
        in_chans=golden.image.shape[1],
        embed_dim=dim,
        depth=len(kwargs["depth"]),
        plain_depth=plain,
        num_heads=kwargs["num_heads"],
        mlp_ratio=golden.weights["blocks.0.mlp.fc1.weight"].shape[0] / dim,
        patches="convolved" if kwargs.get("use_cnn_embed", False) else "linear",
        shrink=kwargs.get("scale_adjustment", 1.0),
        scaled=kwargs.get("transform_scale", False),
    )


GOLDENS = {"orig_deepvit_": of_classifier("deepvit", "authors", config)}
