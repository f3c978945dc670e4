"""ViT_C beside torchvision's ViT with a convolutional stem, and beside timm's with that stem.

torchvision's is always read by a class token; timm's is read as ours are, and has no such stem.
"""

from dataclasses import replace
from functools import partial

from patchword.models.vitc import ViTCConfig
from patchword.weights import Format, Rule
from patchword.weights.plain import TIMM
from tests.families.vit import SMALL, timm_sized
from tests.parity.peer import Peer, outputs, split

TINY = {
    "mean": ViTCConfig(
        image_size=(32, 24),
        patch_size=4,
        prefix=(),
        pool="mean",
        channels=(8, 16),
        strides=(2, 2),
        **SMALL,
    ),
    "token": ViTCConfig(
        image_size=(36, 30), patch_size=4, channels=(8, 16), strides=(2, 2), **SMALL
    ),
}
FIXED = ()
QUICK = {
    "vitc_mini_28": {"depth": 2},
    "vitc_mini_32": {"prefix": ("class",), "pool": "token"},
    "vitc_mini_distilled_28": {"depth": 2},
}
GOLDENS = {}


def peers(name, config, num_classes):
    if config.pool == "token" and config.prefix == ("class",):
        return [lambda: torchvision_s(config, num_classes)]
    return [lambda: timm_s(config, num_classes)]


STEM = "stem.patch_embed.convs.#"
JOINED = Format(
    "torchvision's stem before timm's blocks",
    Rule("patch_embed.backbone.conv_bn_relu_#.0.*", f"{STEM}.0.*"),
    Rule("patch_embed.backbone.conv_bn_relu_#.1.*", f"{STEM}.1.*"),
    head=TIMM.head,
)
JOINED.rules += TIMM.rules


def timm_s(config, num_classes):
    """Return timm's hybrid, its convnet torchvision's stem."""
    from timm.layers import HybridEmbed

    even = replace(config, image_size=(config.patch_size,) * 2)  # the stem reads any, theirs not
    convs = torchvision_s(even, num_classes).model.conv_proj[:-1]
    embed = partial(HybridEmbed, backbone=convs)
    peer = timm_sized(config, num_classes, patch_size=1, embed_layer=embed)
    return replace(peer, label="torchvision, timm", format=JOINED)


def torchvision_s(config, num_classes):
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    stem = None
    if isinstance(config, ViTCConfig):
        pairs = zip(config.channels, config.strides, strict=True)
        stem = [ConvStemConfig(width, 3, stride) for width, stride in pairs]
    model = VisionTransformer(
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_layers=config.depth,
        num_heads=config.num_heads,
        hidden_dim=config.embed_dim,
        mlp_dim=int(config.embed_dim * config.mlp_ratio),
        num_classes=num_classes,
        conv_stem_configs=stem,
    )

    def see(model, batch):
        layers = {f"blocks.{i}": layer for i, layer in enumerate(model.encoder.layers)}
        with outputs({**layers, "final": model.encoder.ln}) as seen:
            logits = model(batch)
        grid = tuple(side // config.patch_size for side in batch.shape[2:])
        return logits, {name: split(tokens, grid) for name, tokens in seen.items()}

    return Peer(label="torchvision", model=model, format="torchvision", see=see)
