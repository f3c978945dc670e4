"""BiT beside timm's and transformers', and beside its authors' own code."""

from patchword.models.bit import BiTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs

TINY = {
    "narrow": BiTConfig(image_size=(32, 24), stem_dim=32, embed_dim=(128, 256), depth=(1, 2)),
    "wide_stem": BiTConfig(
        image_size=(36, 49), in_chans=2, stem_dim=64, embed_dim=(128, 128), depth=(2, 1)
    ),
}
FIXED = ()

QUICK = {
    "resnetv2_50x1_bit": {"image_size": (47, 65), "depth": (1, 2, 1, 1)},
}


def peers(name, config, num_classes):
    return [
        lambda: timm_s(name, config, num_classes),
        lambda: transformers_s(config, num_classes),
    ]


def timm_s(name, config, num_classes):
    import timm
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    assert timm.is_model(name)
    model = ResNetV2(
        list(config.depth),
        config.embed_dim,
        num_classes,
        config.in_chans,
        stem_chs=config.stem_dim,
        stem_type="fixed",
        conv_layer=lambda *sizes, **more: StdConv2d(*sizes, eps=config.std_eps, **more),
    )

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.stages)}
        with outputs({**stages, "final": model.norm}) as seen:
            logits = model(batch)
        return logits, seen

    return Peer(label="timm", model=model, format="timm", see=see)


def transformers_s(config, num_classes):
    import transformers

    theirs = transformers.BitConfig(
        num_channels=config.in_chans,
        embedding_size=config.stem_dim,
        hidden_sizes=config.embed_dim,
        depths=config.depth,
        num_labels=num_classes,
    )
    model = transformers.BitForImageClassification(theirs)

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.bit.encoder.stages)}
        with outputs({**stages, "final": model.bit.norm}) as seen:
            logits = model(batch).logits
        return logits, seen

    return Peer(label="transformers", model=model, format="transformers", see=see, root="bit.")


def config(golden):
    """Return the config of the authors' network, whose variances are kept from 0 by less."""
    kwargs = golden.kwargs
    factor = kwargs.get("width_factor", 1)
    return BiTConfig(
        image_size=tuple(golden.image.shape[2:]),
        in_chans=golden.image.shape[1],
        stem_dim=64 * factor,
        embed_dim=tuple(256 * factor * 2**i for i in range(4)),
        depth=tuple(kwargs["block_units"]),
        std_eps=1e-10,
    )


def num_classes(golden):
    return golden.kwargs.get("head_size", 21843)


GOLDENS = {
    "orig_full_bit_": of_classifier("bit", "authors", config, num_classes),
    "orig_bit_": of_classifier("bit", "authors", config, num_classes),
}
