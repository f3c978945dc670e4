"""Segmenter beside its authors' tensors."""

import torch.nn.functional as F

from patchword.heads.segmenter import SegmenterConfig
from patchword.models.vit import ViTConfig
from tests.families import deit, pvtv2, vit
from tests.heads.made import filled

FAMILY = None
TINY = {
    "mask": (vit.VIT, SegmenterConfig(head_dim=8)),
    "linear": (deit.TINY["distilled"], SegmenterConfig(decoder="linear")),
    "pyramid": (pvtv2.TINY["pooled"], SegmenterConfig(depth=1)),
}


def authors(golden):
    """Answer as the authors' networks: whole, at odd sizes, through windows."""
    kwargs = golden.about["config"]
    side, dim = kwargs["image_size"], kwargs["d_model"]
    config = ViTConfig(
        image_size=(side, side),
        patch_size=kwargs["patch_size"],
        embed_dim=dim,
        depth=kwargs["n_layers"],
        num_heads=kwargs["n_heads"],
        mlp_ratio=kwargs["d_ff"] / dim,
        norm_eps=1e-5,
        resample="bilinear",
    )
    head = SegmenterConfig(
        decoder=kwargs["decoder"],
        depth=kwargs["decoder_layers"],
        head_dim=dim // kwargs["decoder_heads"],
        mlp_ratio=kwargs["d_ff"] / dim,
    )
    classes = kwargs["n_cls"]
    model, _ = filled("segmenter", "authors", "vit", (config, head), golden.weights, classes)
    labels = golden.held["in.labels"].long()
    logits = model(golden.held["in.x"])
    return {
        "logits": logits,
        "logits_odd": model(golden.held["in.x_odd"]),
        "loss.ce": F.cross_entropy(logits, labels, ignore_index=255),
    }


GOLDENS = {"segmenter_orig_": authors}
PEERS = {}
