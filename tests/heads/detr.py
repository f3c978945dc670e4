"""DETR beside its authors' tensors."""

import torch

from patchword.heads.detr import DETRConfig
from patchword.models.resnet import ResNetConfig
from tests.families import pvtv2, resnet, vit
from tests.heads.made import filled
from tests.heads.sets import SetPeer, outputs
from tests.parity.peer import outputs as outputs_of

FAMILY = None
SMALL = {"embed_dim": 16, "num_heads": 2, "depth": (1, 2), "mlp_dim": 24, "num_queries": 7}
TINY = {
    "sine": (resnet.TINY["bottleneck"], DETRConfig(**SMALL)),
    "learned": (pvtv2.TINY["pooled"], DETRConfig(position="learned", **SMALL)),
    "pre_norm": (vit.VIT, DETRConfig(pre_norm=True, frozen_norms=False, **SMALL)),
    "level": (vit.MEAN, DETRConfig(level="blocks.0", **SMALL)),
}


def body(golden):
    """Return our config of the authors' convnet."""
    kwargs = golden.about["config"]
    return ResNetConfig(
        image_size=tuple(golden.held["in.images"].shape[2:]),
        stem_dim=golden.weights[stem_of(golden.weights)].shape[0],
        embed_dim=tuple(kwargs["widths"]),
        depth=tuple(kwargs.get("layers", (1, 1, 1, 1))),
        block=kwargs.get("block", "basic"),
        dilated=kwargs.get("dc5", False),
    )


def stem_of(weights):
    return next(name for name in weights if name.endswith("body.conv1.weight"))


def settings(golden):
    """Return our settings from the authors' arguments."""
    kwargs = golden.about["config"]
    return {
        "embed_dim": kwargs["d"],
        "num_heads": kwargs["h"],
        "depth": (kwargs["enc"], kwargs["dec"]),
        "mlp_dim": kwargs["ff"],
        "num_queries": kwargs["q"],
        "position": kwargs.get("pe", "sine"),
        "pre_norm": any("transformer.encoder.norm." in name for name in golden.weights),
    }


def authors(golden):
    """Answer as the authors' networks."""
    pair = (body(golden), DETRConfig(**settings(golden)))
    classes = golden.about["config"]["n"]
    model, _ = filled("detr", "authors", "resnet", pair, golden.weights, classes)
    return outputs(model, golden)


BODY = ResNetConfig(
    image_size=(96, 64), stem_dim=8, embed_dim=(8, 16, 16, 24), depth=(1, 1, 1, 1), block="basic"
)
TIMM = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}


def backbone_of(config, *levels):
    """Return transformers' settings of a ResNet, which is timm's where the last stage is dilated.

    Args:
        config: ours.
        levels: the stages that are read, from 1.
    """
    from transformers import ResNetConfig as Theirs
    from transformers import TimmBackboneConfig

    if config.dilated:
        name = TIMM[config.depth]
        return TimmBackboneConfig(backbone=name, out_indices=[*levels], output_stride=16)
    return Theirs(
        embedding_size=config.stem_dim,
        hidden_sizes=list(config.embed_dim),
        depths=list(config.depth),
        layer_type=config.block,
        out_features=[f"stage{i}" for i in levels],
    )


def format_of(config):
    """Return the name of the format that transformers' network has in memory."""
    return "transformers in memory" if config.dilated else "transformers without timm in memory"


def layered(whole, batch):
    """Return all layers' answers; with its `auxiliary_loss` theirs norms between layers as well."""
    model = whole.detr if type(whole).__name__ == "DetrForSegmentation" else whole
    decoder = model.model.decoder
    if batch["pixel_values"].dtype == torch.float64:  # in which their loss does not work
        batch = {name: value for name, value in batch.items() if name != "labels"}
    with outputs_of({str(i): layer for i, layer in enumerate(decoder.layers)}) as seen:
        answer = whole(**batch)
    states = [seen[str(i)] for i in range(len(decoder.layers) - 1)]
    states = [decoder.layernorm(x[0] if isinstance(x, tuple) else x) for x in states]
    answer.auxiliary_outputs = [
        {
            "logits": model.class_labels_classifier(x),
            "pred_boxes": model.bbox_predictor(x).sigmoid(),
        }
        for x in states
    ]
    return answer


def settings_of(pair, classes, *levels):
    """Return transformers' settings of a DETR that reads some stages."""
    from transformers import DetrConfig

    body, head = pair
    return DetrConfig(
        backbone_config=backbone_of(body, *levels),
        d_model=head.embed_dim,
        encoder_layers=head.depth[0],
        decoder_layers=head.depth[1],
        encoder_attention_heads=head.num_heads,
        decoder_attention_heads=head.num_heads,
        encoder_ffn_dim=head.mlp_dim,
        decoder_ffn_dim=head.mlp_dim,
        num_queries=head.num_queries,
        position_embedding_type=head.position,
        num_labels=classes,
    )


def transformers_s(pair, classes=5):
    """Return transformers' DETR."""
    from transformers import DetrForObjectDetection, DetrImageProcessor
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    model = DetrForObjectDetection(settings_of(pair, classes, 4))
    return SetPeer(
        model=model,
        see=lambda batch: layered(model, batch),
        pair=pair,
        file="detr",
        format=format_of(pair[0]),
        matcher=HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2),
        processor=DetrImageProcessor(),
        classes=classes,
    )


def small(position):
    """Return a small pair of configs."""
    wide = {"embed_dim": 32, "depth": (2, 3), "position": position}
    return BODY, DETRConfig(**{**SMALL, **wide})


PEERS = {
    "sine": lambda: transformers_s(small("sine")),
    "learned": lambda: transformers_s(small("learned")),
}
WHOLE = {"detr_resnet*": {"transformers": transformers_s}}
GOLDENS = {"detr_orig_": authors}
