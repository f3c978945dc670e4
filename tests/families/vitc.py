"""ViT_C beside torchvision's ViT with a convolutional stem."""

from patchword.models.vitc import ViTCConfig
from tests.families.vit import SMALL
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
QUICK = {"vitc_mini_32": {"prefix": ("class",), "pool": "token"}}
GOLDENS = {}


def peers(name, config, num_classes):
    """Return torchvision's, which is always read by a class token, and by it alone."""
    alone = config.pool == "token" and config.prefix == ("class",)
    return [lambda: torchvision_s(config, num_classes)] if alone else []


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
