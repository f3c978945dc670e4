"""Swin V2 beside timm's, transformers' and torchvision's, and beside its authors' own code."""

from dataclasses import replace

from patchword.models.swinv2 import SwinV2Config
from tests.families import swin
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

SWIN = SwinV2Config(
    image_size=(32, 48),
    patch_size=2,
    embed_dim=12,
    depth=(3, 2),
    num_heads=(2, 3),
    window_size=(4, 4),
    pretrained_window_sizes=(0, 0),
    mlp_ratio=2.0,
)  # grids of 16x24 and 8x12

TINY = {
    "tiled": SWIN,
    "padded": replace(SWIN, image_size=(36, 54), window_size=(4, 5), in_chans=1),
    "pretrained": replace(SWIN, pretrained_window_sizes=(3, 2), qkv_bias=False),
    "authors": replace(SWIN, image_size=(16, 28), tiling="authors", position="learned"),
}
FIXED = ()

QUICK = {
    "swinv2_tiny_window8_256": {"embed_dim": 24, "depth": (2, 2, 2, 1)},
    "swinv2_small_window8_256": {
        **{"image_size": (72, 120), "embed_dim": 24, "depth": (2, 2, 2, 2)},
    },
    "swinv2_base_window12to16_192to256": {
        **{"image_size": (128, 128), "embed_dim": 32, "depth": (2, 1, 1, 1)},
    },
}


def peers(name, config, num_classes):
    """Return the references; torchvision's has one more bias: parity/test_torchvision_swinv2.py."""
    import timm

    makers = []
    tiled = swin.all_tiled(config)
    if timm.is_model(name) and (tiled or config.tiling == "timm"):
        makers.append(lambda: timm_s(name, config, num_classes))
    if tiled and len({*config.window_size}) == 1:
        makers.append(lambda: transformers_s(config, num_classes))
    return makers


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name,
        num_classes=num_classes,
        img_size=config.image_size,
        in_chans=config.in_chans,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depths=config.depth,
        num_heads=config.num_heads,
        window_size=tuple((w, w) for w in config.window_size),
        pretrained_window_sizes=config.pretrained_window_sizes,
    )
    return Peer(label="timm", model=model, format="timm", see=swin.see_timm)


def transformers_s(config, num_classes):
    import transformers

    model = transformers.Swinv2ForImageClassification(
        transformers.Swinv2Config(
            image_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depths=config.depth,
            num_heads=config.num_heads,
            window_size=config.window_size[0],
            pretrained_window_sizes=config.pretrained_window_sizes,
            num_labels=num_classes,
        )
    )
    grids = dict(enumerate(config.grids))

    def see(model, batch):
        lasts = {i: stage.blocks[-1] for i, stage in enumerate(model.swinv2.encoder.layers)}
        with outputs({**lasts, "final": model.swinv2.layernorm}) as seen:
            logits = model(batch).logits
        final = split(seen.pop("final"), grids[len(grids) - 1])
        taps = {f"stages.{i}": split(x[0], grids[i]) for i, x in seen.items()}
        return logits, {**taps, "final": final}

    return Peer(label="transformers", model=model, format="transformers", see=see, root="swinv2.")


def config(golden):
    settings = vars(swin.config(golden))
    pretrained = golden.kwargs.get("pretrained_window_sizes", (0,) * len(settings["depth"]))
    return SwinV2Config(**settings, pretrained_window_sizes=tuple(pretrained))


GOLDENS = {"orig_swinv2_": of_classifier("swinv2", "authors", config)}
