"""Sparse R-CNN beside its authors' tensors, and its regions beside torchvision's."""

import torch

from patchword.features import Level
from patchword.heads.dense import MAIN
from patchword.heads.detector import Detector, Found, centred
from patchword.heads.sparse_rcnn import FORMATS, SparseRCNNConfig, SparseRCNNHead
from patchword.tasks.detect import NOTHING, Boxed, Detect
from patchword.weights import Format, fill
from tests.families import pvtv2, resnet, vit
from tests.heads.sets import losses, matches

FAMILY = None
SMALL = {
    "embed_dim": 16,
    "num_heads": 2,
    "depth": 2,
    "mlp_dim": 24,
    "num_queries": 6,
    "hidden": 4,
    "cells": 3,
}
SQUARE = resnet.TINY["basic"]
TINY = {
    "pyramid": (SQUARE, SparseRCNNConfig(**SMALL)),
    "plain": (vit.VIT, SparseRCNNConfig(frozen_norms=False, **SMALL)),
    "level": (pvtv2.TINY["strided"], SparseRCNNConfig(levels=("final",), **SMALL)),
}


class Cascade(Detector):
    """Our head where its pyramid is given."""

    def __init__(self, head, golden):
        torch.nn.Module.__init__(self)
        self.head, self.golden = head, golden

    def steps(self):
        held = self.golden.held
        maps = [held[f"in.features.{i}"] for i in range(len(self.head.strides))]
        return self.head.cascade(maps, held["in.proposal_boxes_xyxy"], held["in.proposal_features"])

    def heads(self, images, sizes=None):
        sides = self.golden.held["in.image_whwh"][:, None]
        steps = self.steps()
        names = [*(f"aux.{i}" for i in range(len(steps) - 1)), MAIN]
        return {
            name: Found(scores, centred(boxes / sides))
            for name, (scores, boxes) in zip(names, steps, strict=True)
        }


def authors(golden):
    """Answer as the authors' cascade, from the maps that they gave it."""
    kwargs, held = golden.about["config"], golden.held
    config = SparseRCNNConfig(
        embed_dim=kwargs["hidden"],
        num_heads=kwargs["heads"],
        depth=kwargs["stages"],
        mlp_dim=kwargs["ff"],
        num_queries=held["in.proposal_features"].shape[0],
        hidden=kwargs["dim_dynamic"],
        cells=kwargs["pooler_resolution"],
        branches=(kwargs["num_cls_layers"], kwargs["num_reg_layers"]),
    )
    levels = [Level(str(s), kwargs["hidden"], (s, s)) for s in kwargs["strides"]]
    head = SparseRCNNHead(config, levels, kwargs["num_classes"])
    format_ = Format("authors", head=FORMATS[0].rules)
    found = format_.load({f"head.{name}": tensor for name, tensor in golden.weights.items()})
    fill(head.stages, {name.removeprefix("head.stages."): t for name, t in found.items()})
    model = Cascade(head.eval(), golden)
    steps = model.steps()
    batch = objects_of(golden)
    task = Detect(model)
    return {
        "logits": torch.stack([scores for scores, _ in steps]),
        "boxes": torch.stack([boxes for _, boxes in steps]),
        **losses(task, batch),
        **matches(task, model.heads(batch.images), batch),
    }


def objects_of(golden):
    """Return a golden's objects, whose boxes it has as centres and sides."""
    held = golden.held
    count = len(held["in.image_whwh"])
    most = max(len(held[f"in.targets.{i}.labels"]) for i in range(count))
    boxes = torch.full((count, most, 4), 0.5)
    labels = torch.full((count, most), NOTHING)
    for i in range(count):
        found = held[f"in.targets.{i}.boxes_xyxy"]
        boxes[i, : len(found)] = centred(found / held["in.image_whwh"][i])
        labels[i, : len(found)] = held[f"in.targets.{i}.labels"]
    sizes = held["in.image_whwh"][:, [1, 0]].long()
    return Boxed(torch.zeros(count, 3, 8, 8), sizes, boxes, labels, torch.ones(count))


PEERS = {}
GOLDENS = {"sparse_rcnn_head_orig_": authors}
