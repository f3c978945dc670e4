"""XCiT beside timm's."""

from dataclasses import replace

from patchword.models.xcit import XCiTConfig
from tests.parity.peer import Peer, outputs, split

XCIT = XCiTConfig(
    image_size=(32, 48), patch_size=8, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2.0
)
TINY = {
    "fine": XCIT,
    "coarse": replace(XCIT, patch_size=16, embed_dim=32, num_heads=4, in_chans=1, class_depth=1),
    "cells_unnormed": replace(XCIT, norm_cells=False, class_depth=3, layer_scale=0.1),
}
FIXED = ()
GOLDENS = {}

QUICK = {
    "xcit_nano_12_p16_224": {"image_size": (96, 64), "depth": 4},
    "xcit_tiny_24_p8_384": {"image_size": (48, 64), "depth": 3},
}


def peers(name, config, num_classes):
    return [lambda: timm_s(config, num_classes)]


def timm_s(config, num_classes):
    from timm.models.xcit import Xcit

    model = Xcit(
        img_size=config.image_size,
        patch_size=config.patch_size,
        in_chans=config.in_chans,
        num_classes=num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        cls_attn_layers=config.class_depth,
        eta=config.layer_scale,
        tokens_norm=config.norm_cells,
    )
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    blocks = {f"class_blocks.{i}": block for i, block in enumerate(model.cls_attn_blocks)}
    with outputs(blocks) as seen:
        tokens, levels = model.forward_intermediates(batch)
    grid = tuple(levels[-1].shape[2:])
    taps = {f"blocks.{i}": level for i, level in enumerate(levels)}
    taps |= {name: split(x, grid) for name, x in seen.items()}
    return model.forward_head(tokens), {**taps, "final": split(tokens, grid)}
