"""Swin beside timm's, transformers' and torchvision's, and beside its authors' own code."""

from dataclasses import replace

from patchword.models.swin import SwinConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

SMALL = {
    **{"image_size": (32, 48), "patch_size": 2, "embed_dim": 12, "mlp_ratio": 2.0},
    **{"depth": (3, 2), "num_heads": (2, 3), "window_size": (4, 4)},
}  # grids of 16x24 and 8x12
SWIN = SwinConfig(**SMALL)

TINY = {
    "tiled": SWIN,
    "padded": replace(SWIN, image_size=(36, 54), window_size=(4, 5), in_chans=1),
    "torchvision": replace(SWIN, image_size=(36, 50), tiling="torchvision", patch_norm=False),
    "authors": replace(SWIN, image_size=(16, 28), tiling="authors", position="learned"),
    "one_window": replace(SWIN, image_size=(16, 32), window_size=(8, 8), qkv_bias=False),
}
FIXED = ()

THREE = {"depth": (2, 2, 2), "num_heads": (3, 6, 12), "embed_dim": 24}
QUICK = {
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depth": (2, 2, 2, 1)},
    "swin_small_patch4_window7_224": {
        **{"image_size": (72, 120), "embed_dim": 24, "depth": (2, 2, 2, 2)},
    },
    "swin_base_patch4_window7_224": {
        **{"image_size": (72, 120), "window_size": (5, 5, 5), "tiling": "torchvision"},
        **THREE,
    },
    "swin_large_patch4_window7_224": {
        **{"image_size": (76, 120), "window_size": (4, 4, 4), "tiling": "authors"},
        **THREE,
    },
    "swin_tiny_c24_patch4_window8_256": {
        **{"image_size": (128, 128), "embed_dim": 32, "window_size": (8, 8, 8)},
        **{"depth": (2, 2, 1), "num_heads": (4, 8, 16)},
    },
    "swin_s3_small_224": {"embed_dim": 24, "depth": (2, 2, 2, 2)},
}


def peers(name, config, num_classes):
    """Return the references that have a config's rules, or do not need any for its grids."""
    import timm

    makers = []
    tiled = {"timm", "torchvision", "authors"} if all_tiled(config) else {config.tiling}
    if timm.is_model(name) and "timm" in tiled:
        makers.append(lambda: timm_s(name, config, num_classes))
    if len({*config.window_size}) > 1 or config.in_chans != 3:
        return makers
    if "authors" in tiled:
        makers.append(lambda: transformers_s(config, num_classes))
    if "torchvision" in tiled:
        makers.append(lambda: torchvision_s(config, num_classes))
    return makers


def all_tiled(config):
    """Tell whether windows tile each stage's grid, and either all of its axes have room or none."""
    pairs = [*zip(config.grids, config.window_size, strict=True)]
    return all(
        rows % window == columns % window == 0 and (rows > window) == (columns > window)
        for (rows, columns), window in pairs
    )


def timm_s(name, config, num_classes, **more):
    """Return timm's network of a name at a config's sizes; `more` are arguments of its own."""
    import timm

    model = timm.create_model(
        name,
        num_classes=num_classes,
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depths=config.depth,
        num_heads=config.num_heads,
        window_size=tuple((w, w) for w in config.window_size),
        **more,
    )
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    x, levels = model.forward_intermediates(batch)
    taps = {f"stages.{i}": level for i, level in enumerate(levels)}
    return model.forward_head(x), {**taps, "final": x.permute(0, 3, 1, 2)}


def transformers_s(config, num_classes):
    import transformers

    settings = transformers.SwinConfig(**settings_of(config, num_classes))
    return Peer(
        label="transformers",
        model=transformers.SwinForImageClassification(settings),
        format="transformers in memory",
        see=see_transformers(config, "swin"),
        root="swin.",
    )


def settings_of(config, num_classes):
    """Return transformers' words for a config."""
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "depths": config.depth,
        "num_heads": config.num_heads,
        "window_size": config.window_size[0],
        "num_labels": num_classes,
    }


def see_transformers(config, backbone):
    """Return what runs a classifier of theirs, whose backbone has a name, and shows its levels."""
    grids = dict(enumerate(config.grids))

    def see(model, batch):
        inner = model.get_submodule(backbone)
        lasts = {i: stage.blocks[-1] for i, stage in enumerate(inner.encoder.layers)}
        with outputs({**lasts, "final": inner.layernorm}) as seen:
            logits = model(batch).logits
        final = split(seen.pop("final"), grids[len(grids) - 1])
        taps = {f"stages.{i}": split(x[0], grids[i]) for i, x in seen.items()}
        return logits, {**taps, "final": final}

    return see


def torchvision_s(config, num_classes):
    from torchvision.models.swin_transformer import SwinTransformer

    window = config.window_size[0]
    model = SwinTransformer(
        patch_size=[config.patch_size] * 2,
        embed_dim=config.embed_dim,
        depths=[*config.depth],
        num_heads=[*config.num_heads],
        window_size=[window, window],
        num_classes=num_classes,
    )

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.features[1::2])}
        with outputs({**stages, "final": model.norm}) as seen:
            logits = model(batch)
        return logits, {name: x.permute(0, 3, 1, 2) for name, x in seen.items()}

    return Peer(label="torchvision", model=model, format="torchvision", see=see)


def config(golden):
    kwargs = golden.kwargs
    depth = tuple(kwargs.get("depths", (2, 2, 6, 2)))
    return SwinConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs.get("patch_size", 4),
        in_chans=golden.image.shape[1],
        embed_dim=kwargs.get("embed_dim", 96),
        depth=depth,
        num_heads=tuple(kwargs.get("num_heads", (3, 6, 12, 24))),
        window_size=(kwargs.get("window_size", 7),) * len(depth),
        tiling="authors",
        mlp_ratio=kwargs.get("mlp_ratio", 4.0),
        qkv_bias=kwargs.get("qkv_bias", True),
        patch_norm=kwargs.get("patch_norm", True),
        position="learned" if kwargs.get("ape") else "none",
    )


GOLDENS = {"orig_swin_": of_classifier("swin", "authors", config)}
