"""Axial-ResNet beside its authors' own code, and in tests/parity/test_plain_axial.py."""

import torch

from patchword.heads.classify import classifier
from patchword.layers import AxialAttention
from patchword.models.axial import FORMATS, AxialConfig
from patchword.weights import fill
from tests.parity.golden import layer_of, of_classifier

TINY = {
    "plain": AxialConfig(
        image_size=(32, 64), stem_dim=8, embed_dim=(16, 24), depth=(1, 1), num_heads=2
    ),
    "grey": AxialConfig(
        image_size=(32, 16), stem_dim=8, embed_dim=(16, 32), depth=(1, 2), num_heads=4, in_chans=1
    ),
    "deep": AxialConfig(
        image_size=(32, 64),
        stem_dim=8,
        embed_dim=(16, 32, 48),
        depth=(1, 1, 1),
        num_heads=2,
        since=1,
        output_stride=8,
        deep_stem=True,
    ),
}
FIXED = ("plain", "grey", "deep")
QUICK = {}


def peers(name, config, num_classes):
    return []


def attention(kwargs, weights, x):
    """Answer as `AxialAttention`."""
    across = kwargs.get("width", False)
    layer = AxialAttention(
        kwargs["in_planes"],
        kwargs["out_planes"],
        kwargs.get("groups", 8),
        kwargs.get("kernel_size", 56),
        across=across,
    )
    side, ours = ("width", "width") if across else ("hight", "height")
    layer_of(FORMATS[0], layer, weights, f"layer1.0.{side}_block.", f"stages.0.0.branch.{ours}.")
    y, stride = layer.eval()(x), kwargs.get("stride", 1)
    return torch.nn.functional.avg_pool2d(y, stride) if stride > 1 else y


def layer(golden):
    return {"logits": attention(golden.kwargs, golden.weights, golden.image)}


def dense_layer(golden):
    return {"y": attention(golden.about["config"], golden.weights, golden.held["in.x"])}


def config(golden):
    """Return the network of `AxialAttentionNet`, whose widths follow from one factor."""
    kwargs = golden.kwargs
    s = kwargs.get("s", 0.5)
    return AxialConfig(
        image_size=tuple(golden.image.shape[2:]),
        stem_dim=int(64 * s),
        embed_dim=tuple(2 * int(planes * s) for planes in (128, 256, 512, 1024)),
        depth=tuple(kwargs["layers"]),
        num_heads=kwargs.get("groups", 8),
    )


def dense(golden):
    """Answer as the authors' network with other widths."""
    about, x = golden.about["config"], golden.held["in.x"]
    config = AxialConfig(
        image_size=tuple(x.shape[2:]),
        stem_dim=about["stem"],
        embed_dim=tuple(about["expansion"] * planes for planes in about["planes"]),
        depth=tuple(about["layers"]),
        num_heads=about["groups"],
    )
    model = classifier(config.build(), len(golden.weights["fc.bias"]))
    fill(model, FORMATS[0].load(golden.weights))
    return {"logits": model.eval()(x)}


GOLDENS = {
    "orig_axial_layer_": layer,
    "orig_axial_resnet_": of_classifier("axial", "authors", config),
    "axial_attention_orig_": dense_layer,
    "axial_resnet_orig_": dense,
}
