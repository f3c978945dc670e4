"""Deformable DETR beside its authors' tensors."""

import copy

import torch

from patchword.heads.deformable_detr import DeformableDETRConfig
from tests.families import pvtv2, resnet, vit
from tests.heads import detr
from tests.heads.made import filled
from tests.heads.sets import SetPeer, outputs

FAMILY = None
SMALL = {
    "embed_dim": 16,
    "num_heads": 2,
    "depth": (1, 2),
    "mlp_dim": 24,
    "num_queries": 7,
    "num_levels": 3,
    "points": 2,
}
TINY = {
    "pyramid": (resnet.TINY["bottleneck"], DeformableDETRConfig(**{**SMALL, "num_levels": 4})),
    "single_scale": (pvtv2.TINY["pooled"], DeformableDETRConfig(**{**SMALL, "num_levels": 1})),
    "refine": (vit.VIT, DeformableDETRConfig(refine=True, **SMALL)),
    "two_stage": (
        resnet.TINY["basic"],
        DeformableDETRConfig(refine=True, two_stage=True, frozen_norms=False, **SMALL),
    ),
}


def authors(golden):
    """Answer as the authors' networks."""
    kwargs = golden.about["config"]
    head = DeformableDETRConfig(
        embed_dim=kwargs["d"],
        num_heads=kwargs["h"],
        depth=(kwargs["enc"], kwargs["dec"]),
        mlp_dim=kwargs["ff"],
        num_queries=kwargs["q"],
        num_levels=kwargs["lv"],
        points=kwargs["pt"],
        refine=kwargs["ref"],
        two_stage=kwargs["two"],
    )
    pair = (detr.body(golden), head)
    model, _ = filled("deformable_detr", "authors", "resnet", pair, golden.weights, kwargs["n"])
    return outputs(model, golden)


def transformers_s(pair, classes=5):
    """Return transformers' Deformable DETR."""
    from transformers import (
        DeformableDetrConfig,
        DeformableDetrForObjectDetection,
        DeformableDetrImageProcessor,
    )
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

    body, head = pair
    levels = (4,) if head.num_levels == 1 else (2, 3, 4)
    about = DeformableDetrConfig(
        backbone_config=detr.backbone_of(body, *levels),
        d_model=head.embed_dim,
        encoder_layers=head.depth[0],
        decoder_layers=head.depth[1],
        encoder_attention_heads=head.num_heads,
        decoder_attention_heads=head.num_heads,
        encoder_ffn_dim=head.mlp_dim,
        decoder_ffn_dim=head.mlp_dim,
        num_queries=head.num_queries,
        num_feature_levels=head.num_levels,
        encoder_n_points=head.points,
        decoder_n_points=head.points,
        with_box_refine=head.refine,
        two_stage=head.two_stage,
        two_stage_num_proposals=head.num_queries,
        auxiliary_loss=True,
        class_cost=2,
        num_labels=classes,
    )
    model = DeformableDetrForObjectDetection(about)
    if head.refine:  # there all layers' heads are tied, which are each their own in the paper
        model.class_embed, model.bbox_embed = (
            torch.nn.ModuleList(map(copy.deepcopy, heads))
            for heads in (model.class_embed, model.bbox_embed)
        )
        model.model.decoder.bbox_embed = model.bbox_embed
        if head.two_stage:
            model.model.decoder.class_embed = model.class_embed
    return SetPeer(
        model=model,
        pair=pair,
        file="deformable_detr",
        format=detr.format_of(body),
        matcher=DeformableDetrHungarianMatcher(class_cost=2, bbox_cost=5, giou_cost=2),
        processor=DeformableDetrImageProcessor(),
        classes=classes,
    )


def small(**changes):
    """Return a small pair of configs."""
    settings = {**SMALL, "embed_dim": 32, "depth": (2, 3), "num_levels": 4, **changes}
    return detr.BODY, DeformableDETRConfig(**settings)


PEERS = {
    "plain": lambda: transformers_s(small()),
    "single_scale": lambda: transformers_s(small(num_levels=1)),
    "refine": lambda: transformers_s(small(refine=True)),
    "two_stage": lambda: transformers_s(small(refine=True, two_stage=True)),
}
WHOLE = {"deformable_detr_*resnet50*": {"transformers": transformers_s}}
GOLDENS = {"deformable_detr_orig_": authors}
