"""ConViT beside timm's, and beside its authors' own code."""

from dataclasses import replace

import torch

from patchword.models.convit import GPSA, ConViTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

CONVIT = ConViTConfig(
    image_size=(32, 48),
    patch_size=8,
    embed_dim=24,
    depth=4,
    local_depth=1,
    num_heads=4,
    mlp_ratio=2.0,
)
TINY = {
    "square_heads": CONVIT,
    "other_heads": replace(CONVIT, num_heads=3, in_chans=1, patch_size=4, image_size=(16, 12)),
    "plain": replace(CONVIT, local_depth=0, depth=3),
}
FIXED = ()

QUICK = {
    "convit_tiny": {"image_size": (96, 96)},
    "convit_small": {"image_size": (64, 64), "depth": 5, "local_depth": 3},
    "convit_base": {"image_size": (32, 32), "depth": 2, "local_depth": 1},
}


def peers(name, config, num_classes):
    """Return timm's, whose offsets are those of square images."""
    rows, columns = config.image_size
    return [lambda: timm_s(name, config, num_classes)] if rows == columns else []


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name if timm.is_model(name) else "convit_tiny",  # those of ours alone by their sizes
        num_classes=num_classes,
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim // config.num_heads,
        num_heads=config.num_heads,
        depth=config.depth,
        local_up_to_layer=config.local_depth,
    )
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    with outputs({f"blocks.{i}": block for i, block in enumerate(model.blocks)}) as seen:
        tokens, levels = model.forward_intermediates(batch)
    grid = tuple(levels[-1].shape[2:])
    taps = {name: split(x, grid) for name, x in seen.items()}
    assert all(torch.equal(taps[f"blocks.{i}"].map, level) for i, level in enumerate(levels))
    return model.forward_head(tokens), {**taps, "final": split(tokens, grid)}


def config(golden):
    kwargs = golden.kwargs
    return ConViTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 16),
        in_chans=golden.image.shape[1],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs.get("depth", 12),
        local_depth=kwargs.get("local_up_to_layer", 10),
        num_heads=kwargs["num_heads"],
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
    )


def local_init(golden):
    """Return the gated attention's start, for as many heads as there are in 2x2, 3x3, 4x4."""
    found = {}
    for heads, strength in ((4, 1.0), (9, 1.0), (16, 0.5)):
        gpsa = GPSA(4 * heads, heads)
        gpsa.localise(strength)
        found[f"h{heads}.v.weight"] = gpsa.v.weight
        found[f"h{heads}.gating_param"] = gpsa.attend.gating_param
        found[f"h{heads}.pos_proj.weight"] = gpsa.attend.pos_proj.weight
        found[f"h{heads}.pos_attention_6x6"] = gpsa.attend.position((6, 6))[None]
    return found


GOLDENS = {
    "orig_convit_": of_classifier("convit", "timm", config),
    "orig_convit_local_init": local_init,
}
