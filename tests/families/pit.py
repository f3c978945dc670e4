"""PiT beside timm's, and beside its authors' own code."""

from dataclasses import replace

from patchword.features import Tap
from patchword.models.pit import PiTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs

PIT = PiTConfig(
    image_size=(48, 32),
    patch_size=8,
    stride=4,
    embed_dim=(8, 16, 32),
    depth=(1, 2, 1),
    num_heads=(1, 2, 4),
)

TINY = {
    "class": PIT,
    "distilled": replace(PIT, prefix=("class", "distillation"), image_size=(32, 40), in_chans=2),
    "two_stages": replace(
        PIT, embed_dim=(12, 36), depth=(2, 2), num_heads=(3, 3), patch_size=6, stride=3
    ),
}
FIXED = ()

QUICK = {
    "pit_ti_224": {"image_size": (96, 64)},
    "pit_b_224": {"image_size": (56, 70), "depth": (1, 1, 2)},
    "pit_xs_distilled_224": {"image_size": (64, 64), "depth": (1, 2, 1)},
}


def peers(name, config, num_classes):
    return [lambda: timm_s(name, config, num_classes)]


def timm_s(name, config, num_classes):
    """Return timm's model of a name; its last norm sees the class tokens alone."""
    import timm

    model = timm.create_model(
        name if timm.is_model(name) else "pit_ti_224",  # those of ours alone by their sizes
        num_classes=num_classes,
        img_size=config.image_size,
        patch_size=config.patch_size,
        stride=config.stride,
        base_dims=[d // h for d, h in zip(config.embed_dim, config.num_heads, strict=True)],
        heads=config.num_heads,
        depth=config.depth,
    )

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.transformers)}
        with outputs(stages) as seen:
            logits = model(batch)
        return logits, {name: Tap(*output) for name, output in seen.items()}

    return Peer(label="timm", model=model, format="timm", see=see)


def config(golden):
    kwargs = golden.kwargs
    distilled = "head_dist.weight" in golden.weights
    return PiTConfig(
        image_size=(kwargs["image_size"],) * 2,
        patch_size=kwargs["patch_size"],
        stride=kwargs["stride"],
        in_chans=kwargs.get("in_chans", 3),
        embed_dim=tuple(
            base * heads for base, heads in zip(kwargs["base_dims"], kwargs["heads"], strict=True)
        ),
        depth=tuple(kwargs["depth"]),
        num_heads=tuple(kwargs["heads"]),
        mlp_ratio=float(kwargs["mlp_ratio"]),
        prefix=("class", "distillation")[: 1 + distilled],
    )


GOLDENS = {"orig_pit_": of_classifier("pit", "authors", config)}
