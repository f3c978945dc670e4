"""MaX-DeepLab's dual-path layer and losses beside its authors' tensors."""

import torch

from patchword.heads.axial_deeplab import Decoding
from patchword.heads.max_deeplab import DualPath, MaXDeepLabConfig, Path
from patchword.tasks.panoptic import NONE, mean
from patchword.tasks.slots import SlotLoss, slot_costs, truth
from tests.families import axial, pvtv2, vit

FAMILY = None
SMALL = {
    "slots": 6,
    "memory": 8,
    "path": Path(filters=8, num_heads=2, hidden=12),
    "channels": 32,
    "num_heads": 2,
    "span": 4,
    "blocks": (1, 1),
    "pixel_channels": 6,
    "head_channels": 8,
    "semantic": Decoding(channels=12, context=10, low=(4, 6), rates=(1, 2)),
    "things": (0, 1),
}
AXIAL = (axial.TINY["deep"], MaXDeepLabConfig(**SMALL))  # of one image size
TINY = {
    "pyramid": (pvtv2.TINY["pooled"], MaXDeepLabConfig(**SMALL)),
    "plain": (vit.VIT, MaXDeepLabConfig(**SMALL)),
    "level": (vit.VIT, MaXDeepLabConfig(**SMALL, levels=("final",))),
}

LAYERS = {
    "memory_conv1_bn_act": "enter_memory",
    "memory_conv3_bn": "leave_memory",
    "memory_ffn_conv1_bn_act": "hidden",
    "memory_ffn_conv2_bn": "out",
    "memory_qkv_conv_bn": "qkv_memory",
    "pixel_conv1_bn_act": "enter_pixels",
    "pixel_conv3_bn": "leave_pixels",
    "pixel_qkv_conv_bn": "qkv_pixels",
}
NORMS = {
    "gamma:0": "weight",
    "beta:0": "bias",
    "moving_mean:0": "running_mean",
    "moving_variance:0": "running_var",
}
ATTENTION = {"batch_norm_similarity": "norm_scores", "batch_norm_retrieved_value": "norm"}


def named(name):
    """Return our name of a tensor of Keras' dual-path layer."""
    _, layer, part, *rest = name.split("/")
    if layer in LAYERS:
        inner = "linear.weight" if part == "conv" else f"bn.{NORMS[rest[0]]}"
        return f"{LAYERS[layer]}.{inner}"
    side = {"memory_attention": "attend_memory", "pixel_attention": "attend_pixels"}[layer]
    return f"{side}.{ATTENTION[part]}.{NORMS[rest[0]]}"


def dual_path(golden):
    """Answer as the authors' layer, whose pixels are in rows."""
    kwargs, pixels = golden.about["config"], golden.held["in.pixel"]
    path = Path(
        filters=kwargs["filters"],
        num_heads=kwargs["num_heads"],
        hidden=kwargs["feed_forward_network_channels"],
    )
    memory = golden.held["in.memory"]
    layer = DualPath(pixels.shape[-1], memory.shape[-1], path)
    own = layer.state_dict()
    for name, tensor in golden.weights.items():
        ours = named(name)
        own[ours].copy_(tensor[0].T if name.endswith("kernel:0") else tensor.flatten())
    for part in layer.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.eps = 1e-3
    left = {n for n in own if not n.endswith("num_batches_tracked")}
    assert left == {named(name) for name in golden.weights}
    tokens, memory = layer.eval()(pixels.flatten(1, 2), memory)
    return {"pixel": tokens.view_as(pixels), "memory": memory}


def segments_of(golden):
    """Return the golden's segments as we hold them: ids, classes from 0, crowds."""
    about, held = golden.about["config"], golden.held
    owner, kinds = held["in.thing_id_mask"].long(), held["in.thing_id_class"].long()
    semantic = held["in.semantic"].long()
    first, count = kinds.shape[1] + 1, about["num_classes"]
    ids = torch.where(owner >= 0, owner + 1, first + semantic)
    ids = ids.masked_fill(semantic == about["ignore_label"], 0)
    order = (*about["thing_ids"], *about["stuff_ids"])
    place = torch.full((count + 1,), -1)
    place[torch.tensor(order)] = torch.arange(len(order))
    labels = torch.cat([place[kinds], place[torch.arange(count)].expand(len(kinds), -1)], dim=1)
    return ids, labels, torch.arange(labels.shape[1]) >= kinds.shape[1], place[semantic]


def losses(golden):
    """Answer as the authors' loss, term by term and image by image."""
    about, held = golden.about["config"], golden.held
    ids, labels, later, semantic = segments_of(golden)
    things = range(len(about["thing_ids"]))
    size = held["in.mask_logits"].shape[1:3]
    at_cells = torch.nn.functional.interpolate(ids[:, None].float(), size, mode="nearest-exact")
    images = zip(at_cells[:, 0].long(), labels, strict=True)
    crowd = [later & torch.isin(kinds, torch.tensor([*things])) for kinds in labels]
    wanted = [
        truth(places, kinds, many, things, torch.float32)
        for (places, kinds), many in zip(images, crowd, strict=True)
    ]
    found = {
        "masks": held["in.mask_logits"].permute(0, 3, 1, 2),
        "classes": held["in.class_logits"],
        "pixels": held["in.pixel_feature"].permute(0, 3, 1, 2),
    }
    weights = about["weights"]
    how = SlotLoss(alpha=about["focal_alpha"], temperature=about["inst_temperature"])
    costs = slot_costs(found, wanted, how)
    raw = held["in.semantic"].long()
    known = semantic >= 0
    each = torch.nn.functional.cross_entropy(
        held["in.semantic_logits"].permute(0, 3, 1, 2),
        raw.masked_fill(~known, NONE),
        ignore_index=NONE,
        reduction="none",
    )
    return {
        "loss.instance_discrimination_loss": weights["inst_disc"] * costs["instance"],
        "loss.pq_style_loss_mask_dice_term": weights["pq"] * costs["pq_mask"],
        "loss.mask_id_cross_entropy_loss": weights["mask_id"] * costs["mask_id"],
        "loss.pq_style_loss_class_term": weights["pq"] * costs["pq_class"],
        "loss.semantic_loss": weights["semantic"] * mean(each, known),
    }


GOLDENS = {"max_deeplab_dual_path_": dual_path, "loss_max_deeplab_": losses}
PEERS = {}
