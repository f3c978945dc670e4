"""Networks of segmentation_models_pytorch, and what they call the tensors of ours."""

from dataclasses import replace

import torch

from patchword.heads.dpt import fusion, idle
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

DPT = HeadFormat(
    NAME,
    *modules(
        {
            "decoder.projection_blocks.#.project.0": "head.reassemble.#.project",
            "decoder.reassemble_blocks.#.project_to_out_channel": "head.reassemble.#.narrow",
            "decoder.reassemble_blocks.#.upsample": "head.reassemble.#.resize",
            "decoder.reassemble_blocks.#.project_to_feature_dim": "head.enter.#",
            "segmentation_head.head.#": "head.answer.#",
        }
    ),
    *(
        rule
        for place in range(4)  # they count from the coarsest
        for rule in fusion(
            f"decoder.fusion_blocks.{3 - place}",
            place,
            "residual_conv_block",
            {"conv_#": "conv#", "batch_norm_#": "bn#", "out": "project"},
        )
    ),
    root="encoder.model.",
    backbone="timm",
    unread=("norm.*",),
    derived=lambda config: {f"norm.{name}": t for name, t in idle(config).items()},
)
READOUTS = {"project": "cat", "add": "add", "ignore": "ignore"}  # ours -> theirs


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
    model.segmentation_head[1].align_corners = False  # ours are between borders
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
    model.segmentation_head[1].align_corners = False
    return peer(model, pair, "upernet", UPERNET, "resnet", classes)


def dpt(pair, classes=5):
    """Return their DPT for masks, which has no auxiliary head.

    Before anything is added to the coarsest map they refine it, by what the authors' code keeps and
    does not use: here neither does. A ViT of any sizes is timm's largest, which is told the sizes,
    without the blocks that are too many.
    """
    import segmentation_models_pytorch as smp

    c, head = pair[0], replace(pair[1], aux=False)
    with torch.device("meta"):
        names = head.levels or c.build().pyramid()
    model = smp.DPT(
        "tu-vit_large_patch16_384",
        encoder_weights=None,
        encoder_output_indices=[int(name.rpartition(".")[2]) for name in names],
        decoder_readout=READOUTS[head.readout or "project"],
        decoder_intermediate_channels=head.reassembled,
        decoder_fusion_channels=head.channels,
        classes=classes,
        img_size=c.image_size[0],
        patch_size=c.patch_size,
        embed_dim=c.embed_dim,
        num_heads=c.num_heads,
        mlp_ratio=c.mlp_ratio,
        num_classes=0,
    )
    del model.encoder.model.blocks[c.depth :]
    model.decoder.fusion_blocks[0].residual_conv_block1.forward = lambda x: x
    return peer(model, (c, head), "dpt", DPT, "vit", classes)


def peer(model, pair, file, format_, family, classes):
    """Return what holds a network."""
    return DensePeer(
        model=model,
        see=lambda model, batch: {"main": model(batch)},
        pair=pair,
        file=file,
        format=format_,
        family=family,
        classes=classes,
    )
