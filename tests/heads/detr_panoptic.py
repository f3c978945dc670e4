"""DETR's masks beside its authors' tensors."""

import torch

from patchword.heads.detr_panoptic import DETRPanopticConfig, parted
from tests.families import pvtv2, resnet, vit
from tests.heads import detr
from tests.heads.made import filled
from tests.heads.sets import SetPeer, batch_of, outputs

FAMILY = None
SMALL = {**detr.SMALL, "embed_dim": 128, "num_heads": 8, "num_queries": 4}
PYRAMID = resnet.ResNetConfig(
    image_size=(32, 24), stem_dim=8, embed_dim=(8, 16, 16, 24), depth=(1, 1, 1, 1), block="basic"
)
TINY = {
    "pyramid": (PYRAMID, DETRPanopticConfig(**SMALL)),
    "two_levels": (pvtv2.TINY["pooled"], DETRPanopticConfig(**SMALL)),
    "plain": (vit.VIT, DETRPanopticConfig(**SMALL)),
}


def authors(golden):
    """Answer as the authors' networks; segments are counted from 0 there."""
    kwargs = golden.about["config"]
    pair = (detr.body(golden), DETRPanopticConfig(**detr.settings(golden)))
    model, _ = filled("detr_panoptic", "authors", "resnet", pair, golden.weights, kwargs["n"])
    found, batch = outputs(model, golden), batch_of(golden)
    original = [tuple(row) for row in golden.held["in.target_sizes"].tolist()]
    said = model(batch.images, batch.sizes)
    sizes = [tuple(row) for row in batch.sizes.tolist()]
    things = kwargs["thing_ids"]
    segments = parted(said, sizes, original, things, kwargs["panoptic_threshold"])
    for i, (one, wanted) in enumerate(zip(segments, kwargs["panoptic_segments"], strict=True)):
        assert one.labels == tuple(segment["category_id"] for segment in wanted)
        areas = (one.ids.flatten() - 1).bincount(minlength=len(wanted)).tolist()
        assert areas == [segment["area"] for segment in wanted]
        found[f"panoptic_ids.{i}"] = (one.ids - 1).to(golden.wanted[f"panoptic_ids.{i}"].dtype)
    assert torch.equal(said.scores, found["pred_logits"])
    return found


def transformers_s(pair, classes=5):
    """Return transformers' DETR with masks."""
    from transformers import DetrForSegmentation, DetrImageProcessor
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    model = DetrForSegmentation(detr.settings_of(pair, classes, 1, 2, 3, 4))
    return SetPeer(
        model=model,
        see=lambda batch: detr.layered(model, batch),
        pair=pair,
        file="detr_panoptic",
        format=detr.format_of(pair[0]),
        matcher=HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2),
        processor=DetrImageProcessor(),
        classes=classes,
    )


MASKED = DETRPanopticConfig(**{**SMALL, "depth": (2, 3)})
PEERS = {"masks": lambda: transformers_s((detr.BODY, MASKED))}
WHOLE = {"detr_panoptic_*resnet*": {"transformers": transformers_s}}
GOLDENS = {"detr_orig_panoptic_": authors}
