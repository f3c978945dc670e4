"""LeViT beside timm's two forms of it and transformers', and beside its authors' own code."""

from dataclasses import replace

from patchword.heads.classify import Classifier, classifier
from patchword.models.levit import FUSED, LeViTConfig, fused
from patchword.weights import fill
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs

LEVIT = LeViTConfig(
    image_size=(64, 96),
    embed_dim=(16, 24, 32),
    depth=(1, 2, 1),
    num_heads=(2, 3, 4),
    key_dim=8,
)

TINY = {
    "distilled": LEVIT,
    "one_head": replace(LEVIT, readouts=("label",), act="silu", mlp_ratio=1.5, in_chans=1),
    "stem_of_three": replace(
        LEVIT, stem=3, image_size=(40, 24), embed_dim=(8, 16), depth=(1, 1), num_heads=(1, 2)
    ),
}
FIXED = tuple(TINY)

QUICK = {
    "levit_128s": {"image_size": (96, 96), "depth": (1, 2, 1)},
    "levit_192": {"image_size": (64, 112), "depth": (2, 1, 1)},
    "levit_conv_128": {"image_size": (80, 64), "depth": (1, 1, 2)},
    "levit_384_s8": {"image_size": (48, 64), "depth": (1, 1, 1)},
}


def peers(name, config, num_classes):
    makers = [lambda: timm_s(name, config, num_classes)]
    rows, columns = config.image_size
    if config.stem == 4 and config.act == "hard_swish" and rows == columns and "conv" not in name:
        makers.append(lambda: transformers_s(config, num_classes))
    return makers


def timm_s(name, config, num_classes):
    """Return timm's model of a name."""
    import timm

    size = {"img_size": config.image_size, "depth": config.depth}
    model = timm.create_model(name, num_classes=num_classes, **size)

    def see(model, batch):
        x, levels = model.forward_intermediates(batch)
        taps = {f"stages.{i}": level for i, level in enumerate(levels)}
        return model.forward_head(x), {**taps, "final": levels[-1]}

    return Peer(
        label="timm", model=model, format="timm conv" if "conv" in name else "timm", see=see
    )


def transformers_s(config, num_classes):
    """Return transformers' network of a configuration, which is square."""
    from transformers import (
        LevitConfig,
        LevitForImageClassification,
        LevitForImageClassificationWithTeacher,
    )

    distilled = "distillation" in config.readouts
    kind = LevitForImageClassificationWithTeacher if distilled else LevitForImageClassification
    theirs = LevitConfig(
        image_size=config.image_size[0],
        num_channels=config.in_chans,
        hidden_sizes=config.embed_dim,
        num_attention_heads=config.num_heads,
        depths=config.depth,
        key_dim=(config.key_dim,) * 3,
        mlp_ratio=(int(config.mlp_ratio),) * 3,
        num_labels=num_classes,
    )

    def see(model, batch):
        stages = model.levit.encoder.stages
        ends = {  # a stage of theirs goes on into the next one of ours
            f"stages.{i}": stage.layers[2 * depth - 1]
            for i, (stage, depth) in enumerate(zip(stages, config.depth, strict=True))
        }
        with outputs(ends) as seen:
            logits = model(batch).logits
        sides = [-(-config.image_size[0] // 2 ** (4 + i)) for i in range(3)]
        maps = {
            name: x.mT.unflatten(2, (side, side))
            for (name, x), side in zip(seen.items(), sides, strict=True)
        }
        return logits, maps

    return Peer(
        label="transformers", model=kind(theirs), format="transformers", see=see, root="levit."
    )


def config(golden):
    kwargs = golden.kwargs
    distilled = kwargs.get("distillation", True)
    return LeViTConfig(
        image_size=(kwargs.get("img_size", 224),) * 2,
        embed_dim=tuple(kwargs["C"]),
        num_heads=tuple(kwargs["N"]),
        depth=tuple(kwargs["X"]),
        key_dim=kwargs["D"],
        readouts=("label", "distillation")[: 1 + distilled],
    )


def fused_golden(golden):
    """Fill a fused network with weights that were fused by the authors' code."""
    model = classifier(config(golden).build(), golden.kwargs["num_classes"])
    model = Classifier(*fused(model.backbone, dict(model.head.items())))
    fill(model, FUSED.load(golden.weights))
    return {"logits": model.eval()(golden.image)}


GOLDENS = {
    "orig_levit_": of_classifier("levit", "authors", config),
    "orig_levit_fused_": fused_golden,
}
