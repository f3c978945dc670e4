"""HVT beside its authors' own code, and beside its plain form (tests/parity/plain_hvt.py)."""

from dataclasses import replace

from patchword.heads.classify import classifier
from patchword.models.hvt import FORMATS, HVTConfig
from patchword.weights import fill

HVT = HVTConfig(image_size=(32, 48), patch_size=8, embed_dim=24, depth=4, num_heads=3, pool_every=2)

TINY = {
    "pooled": HVT,
    "pooled_once": replace(HVT, pool_every=4, pool_size=2, qkv_bias=False, in_chans=2),
    "never_pooled": replace(HVT, pool_every=0, image_size=(48, 32)),
}
FIXED = tuple(TINY)
QUICK = {}


def peers(name, config, num_classes):
    """Return none: only the authors' code has it."""
    return []


def config(golden):
    kwargs = golden.kwargs
    return HVTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 16),
        in_chans=golden.image.shape[1],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=float(kwargs.get("mlp_ratio", 4)),
        qkv_bias="blocks.0.attn.qkv.bias" in golden.weights,
        pool_every=kwargs["pool_block_width"],
        pool_size=kwargs["pool_kernel_size"],
    )


def authors(golden):
    """Answer as the authors' code, with the blocks whose outputs the golden holds."""
    model = classifier(config(golden).build(), golden.kwargs["num_classes"]).eval()
    fill(model, FORMATS[0].load(golden.weights))
    names = {n: n.replace("blocks_", "blocks.").replace("norm", "final") for n in golden.wanted}
    levels = {n: name for n, name in names.items() if n != "logits"}
    taps = model.backbone(golden.image, taps=[*levels.values()]).taps
    tokens = (tap.map.flatten(2).mT for tap in taps)
    return {"logits": model(golden.image), **dict(zip(levels, tokens, strict=True))}


GOLDENS = {"orig_hvt_": authors}
