"""PVT beside transformers' and beside its authors' own code."""

from torch import nn

from patchword.models.pvt import PVTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

TINY = {
    "two_stages": PVTConfig(
        image_size=(32, 48),
        patch_size=(4, 2),
        embed_dim=(16, 24),
        depth=(2, 2),
        num_heads=(1, 3),
        mlp_ratio=(2.0, 1.5),
        sr_ratio=(2, 1),
    ),
    "four_stages": PVTConfig(
        image_size=(32, 64),
        in_chans=1,
        embed_dim=(8, 12, 16, 20),
        depth=(1, 1, 1, 1),
        num_heads=(1, 2, 2, 2),
        mlp_ratio=(2.0, 2.0, 2.0, 2.0),
    ),
}
FIXED = ()

QUICK = {
    "pvt_tiny": {"image_size": (64, 64), "depth": (1, 1, 1, 2)},
    "pvt_small": {"image_size": (96, 96), "depth": (1, 2, 1, 1), "mlp_ratio": (4.0, 2.0, 2.0, 1.0)},
}


def peers(name, config, num_classes):
    return [lambda: transformers_s(config, num_classes)]


def transformers_s(config, num_classes):
    """Return transformers' network, with the authors' epsilon where tiles are merged."""
    from transformers import PvtConfig, PvtForImageClassification

    model = PvtForImageClassification(
        PvtConfig(
            image_size=config.image_size[0],
            num_channels=config.in_chans,
            depths=config.depth,
            sequence_reduction_ratios=config.sr_ratio,
            hidden_sizes=config.embed_dim,
            patch_sizes=config.patch_size,
            strides=config.patch_size,
            num_attention_heads=config.num_heads,
            mlp_ratios=[int(ratio) for ratio in config.mlp_ratio],
            layer_norm_eps=config.norm_eps,
            num_labels=num_classes,
        )
    )
    for part, module in model.pvt.encoder.named_modules():
        if isinstance(module, nn.LayerNorm) and "." in part and part.endswith(".layer_norm"):
            module.eps = config.reduce_norm_eps
    encoder = model.pvt.encoder

    def see(model, batch):
        stages = {f"stages.{i}": blocks[-1] for i, blocks in enumerate(encoder.block)}
        with outputs({**stages, "final": encoder.layer_norm}) as seen:
            logits = model(batch).logits
        steps = dict(zip(stages, config.strides(), strict=True)) | {"final": config.strides()[-1]}
        levels = {
            level: split(
                x[0] if isinstance(x, tuple) else x,
                tuple(side // steps[level] for side in batch.shape[2:]),
            )
            for level, x in seen.items()
        }
        return logits, levels

    return Peer(label="transformers", model=model, format="transformers", see=see, root="pvt.")


def config(golden):
    kwargs = golden.kwargs
    side = kwargs.get("img_size", 224)
    return PVTConfig(
        image_size=(side, side),
        patch_size=(kwargs.get("patch_size", 16), 2, 2, 2),
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=tuple(kwargs.get("embed_dims", (64, 128, 256, 512))),
        depth=tuple(kwargs.get("depths", (3, 4, 6, 3))),
        num_heads=tuple(kwargs.get("num_heads", (1, 2, 4, 8))),
        mlp_ratio=tuple(map(float, kwargs.get("mlp_ratios", (4, 4, 4, 4)))),
        sr_ratio=tuple(kwargs.get("sr_ratios", (8, 4, 2, 1))),
    )


GOLDENS = {"orig_pvt_": of_classifier("pvt", "authors", config)}
