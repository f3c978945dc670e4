"""Swin V2 beside timm's, transformers' and torchvision's, and beside its authors' own code."""

from dataclasses import replace

from patchword.models.swinv2 import SwinV2Config
from tests.families import swin
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer

SWIN = SwinV2Config(**swin.SMALL, pretrained_window_sizes=(0, 0))

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
    known = {"pretrained_window_sizes": config.pretrained_window_sizes}
    if timm.is_model(name) and (tiled or config.tiling == "timm"):
        makers.append(lambda: swin.timm_s(name, config, num_classes, **known))
    if tiled and len({*config.window_size}) == 1:
        makers.append(lambda: transformers_s(config, num_classes))
    return makers


def transformers_s(config, num_classes):
    import transformers

    settings = transformers.Swinv2Config(
        **swin.settings_of(config, num_classes),
        pretrained_window_sizes=config.pretrained_window_sizes,
    )
    return Peer(
        label="transformers",
        model=transformers.Swinv2ForImageClassification(settings),
        format="transformers",
        see=swin.see_transformers(config, "swinv2"),
        root="swinv2.",
    )


def config(golden):
    settings = vars(swin.config(golden))
    pretrained = golden.kwargs.get("pretrained_window_sizes", (0,) * len(settings["depth"]))
    return SwinV2Config(**settings, pretrained_window_sizes=tuple(pretrained))


GOLDENS = {"orig_swinv2_": of_classifier("swinv2", "authors", config)}
