"""CvT beside transformers' and beside its authors' own code."""

from patchword.models.cvt import CvTConfig
from tests.families.pvtv2 import steps
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

TINY = {
    "three_stages": CvTConfig(
        image_size=(32, 48),
        embed_dim=(8, 12, 20),
        depth=(1, 1, 2),
        num_heads=(1, 2, 2),
        mlp_ratio=2.0,
    ),
    "two_stages": CvTConfig(
        image_size=(24, 16),
        in_chans=1,
        patch_size=(7, 3),
        stride=(4, 2),
        padding=(2, 1),
        embed_dim=(8, 12),
        depth=(1, 2),
        num_heads=(2, 3),
        mlp_ratio=1.5,
        act="exact",
    ),
}
FIXED = ()

QUICK = {  # transformers' needs a stage to have more blocks than there are stages before it
    "cvt_13": {"image_size": (64, 96), "depth": (1, 2, 3)},
    "cvt_21": {"image_size": (71, 45), "depth": (1, 2, 3), "act": "exact"},
    "cvt_w24_384": {"image_size": (32, 32), "depth": (1, 2, 3), "embed_dim": (96, 192, 256)},
}


def peers(name, config, num_classes):
    return [lambda: transformers_s(config, num_classes)]


def transformers_s(config, num_classes):
    """Return transformers' network, with the authors' activation where the config has it."""
    from transformers import CvtConfig, CvtForImageClassification
    from transformers.activations import QuickGELUActivation

    count = len(config.depth)
    model = CvtForImageClassification(
        CvtConfig(
            num_channels=config.in_chans,
            patch_sizes=config.patch_size,
            patch_stride=config.stride,
            patch_padding=config.padding,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            depth=config.depth,
            mlp_ratio=(config.mlp_ratio,) * count,
            stride_kv=(config.kv_stride,) * count,
            drop_path_rate=(0.0,) * count,
            drop_rate=(0.0,) * count,
            attention_drop_rate=(0.0,) * count,
            qkv_bias=(True,) * count,
            cls_token=(False,) * (count - 1) + (True,),
            qkv_projection_method=("dw_bn",) * count,
            kernel_qkv=(3,) * count,
            padding_kv=(1,) * count,
            padding_q=(1,) * count,
            stride_q=(1,) * count,
            num_labels=num_classes,
        )
    )
    stages = model.cvt.encoder.stages
    if config.act == "quick":
        for layer in (layer for stage in stages for layer in stage.layers):
            layer.intermediate.activation = QuickGELUActivation()

    def see(model, batch):
        parts = {f"stages.{i}": stage.layers[-1] for i, stage in enumerate(stages)}
        with outputs(parts) as seen:
            logits = model(batch).logits
        grids = grids_of(config, batch)
        taps = {name: split(tokens, grids[name]) for name, tokens in seen.items()}
        last = seen[f"stages.{count - 1}"]
        return logits, taps | {"final": split(model.layernorm(last), grids["final"])}

    return Peer(label="transformers", model=model, format="transformers", see=see, root="cvt.")


def grids_of(config, batch):
    """Return the sides of each level's map."""
    sides, found = tuple(batch.shape[2:]), {}
    cuts = zip(config.patch_size, config.stride, config.padding, strict=True)
    for name, (patch, stride, padding) in zip(steps(config), cuts, strict=False):
        sides = tuple((side + 2 * padding - patch) // stride + 1 for side in sides)
        found[name] = sides
    return found | {"final": sides}


def config(golden):
    kwargs = golden.kwargs
    return CvTConfig(
        embed_dim=tuple(kwargs["dims"]),
        depth=tuple(kwargs["depth"]),
        num_heads=tuple(kwargs["heads"]),
    )


GOLDENS = {"orig_cvt_": of_classifier("cvt", "authors", config)}
