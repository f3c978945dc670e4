"""Networks of segmentation_models_pytorch, and what they call the tensors of ours."""

from patchword.models.mit import VARIANTS as MITS
from patchword.models.resnet import VARIANTS as RESNETS
from patchword.weights import HeadFormat, modules, normed
from tests.heads.peer import DensePeer

NAME = "segmentation_models_pytorch"
SEGFORMER = HeadFormat(
    NAME,
    *modules({f"decoder.mlp_stage.{3 - i}.linear": f"head.project.{i}" for i in range(4)}),
    *normed({"decoder.fuse_stage": "head.fuse.0"}, "0", "1"),
    *modules({"segmentation_head.0": "head.scores"}),
    root="encoder.",
    backbone="authors",
)
UPERNET = HeadFormat(
    NAME,
    *modules({"decoder.feature_norms.#": "head.norms.#", "segmentation_head.0": "head.scores"}),
    *normed(
        {
            "decoder.psp.blocks.#.1": "head.pooled.#.1.0",
            "decoder.psp.out_conv": "head.bottleneck.0",
            "decoder.fusion_block": "head.fuse.0",
            **{  # they count from the coarsest
                f"decoder.fpn_lateral_blocks.{2 - i}.conv_norm_relu": f"head.lateral.{i}.0"
                for i in range(3)
            },
            **{f"decoder.fpn_conv_blocks.{2 - i}": f"head.smooth.{i}.0" for i in range(3)},
        },
        "0",
        "1",
    ),
    root="encoder.",
    backbone="torchvision",
)


def named(config, variants):
    """Return the name of a config's sizes."""
    sizes = (config.embed_dim, config.depth)
    return next(name for name, one in variants.items() if (one.embed_dim, one.depth) == sizes)


def segformer(pair, classes=5):
    """Return their SegFormer."""
    import segmentation_models_pytorch as smp

    config, head = pair
    model = smp.Segformer(
        named(config, MITS),
        encoder_weights=None,
        decoder_segmentation_channels=head.channels,
        classes=classes,
    )
    return peer(model, pair, "segformer", SEGFORMER, "mit", classes)


def upernet(pair, classes=5):
    """Return their UPerNet on a ResNet, whose norms of levels add less."""
    import segmentation_models_pytorch as smp

    config, head = pair
    model = smp.UPerNet(
        named(config, RESNETS),
        encoder_weights=None,
        decoder_channels=head.channels,
        classes=classes,
    )
    for norm in model.decoder.feature_norms:
        norm.eps = 1e-5
    return peer(model, pair, "upernet", UPERNET, "resnet", classes)


def peer(model, pair, file, format_, family, classes):
    """Return what holds a network, whose scores are enlarged between borders as ours are."""
    model.segmentation_head[1].align_corners = False
    return DensePeer(
        model=model,
        see=lambda model, batch: {"main": model(batch)},
        pair=pair,
        file=file,
        format=format_,
        family=family,
        classes=classes,
    )
