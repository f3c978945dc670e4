"""CaiT beside timm's, and beside its authors' own code."""

from dataclasses import replace

from patchword.features import Tap
from patchword.models.cait import CaiTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

CAIT = CaiTConfig(
    image_size=(32, 48), patch_size=8, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2.0
)
TINY = {
    "two": CAIT,
    "one": replace(CAIT, class_depth=1, num_heads=4, in_chans=1, layer_scale=0.1),
    "shallow": replace(CAIT, depth=1, patch_size=4, image_size=(16, 12), class_depth=3),
}
FIXED = ()

QUICK = {
    "cait_xxs24_224": {"image_size": (96, 64), "depth": 4},
    "cait_xs24_384": {"image_size": (64, 64), "depth": 3},
}


def peers(name, config, num_classes):
    return [lambda: timm_s(name, config, num_classes)]


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name if timm.is_model(name) else "cait_xxs24_224",  # those of ours alone by their sizes
        num_classes=num_classes,
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        num_heads=config.num_heads,
        depth=config.depth,
        depth_token_only=config.class_depth,
    )
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    blocks = {f"class_blocks.{i}": block for i, block in enumerate(model.blocks_token_only)}
    with outputs(blocks) as seen:
        tokens, levels = model.forward_intermediates(batch)
    taps = {f"blocks.{i}": level for i, level in enumerate(levels)}
    taps |= {name: Tap(levels[-1], token) for name, token in seen.items()}
    grid = tuple(levels[-1].shape[2:])
    return model.forward_head(tokens), {**taps, "final": split(tokens, grid)}


def config(golden):
    kwargs = golden.kwargs
    return CaiTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 16),
        in_chans=golden.image.shape[1],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        class_depth=kwargs.get("depth_token_only", 2),
        num_heads=kwargs["num_heads"],
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        layer_scale=kwargs.get("init_scale", 1e-4),
    )


GOLDENS = {"orig_cait_": of_classifier("cait", "timm", config)}
