"""TNT beside timm's, and beside its authors' own code."""

from dataclasses import replace

from patchword.features import Tap
from patchword.models.tnt import TNTConfig
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer

TNT = TNTConfig(
    image_size=(32, 48),
    patch_size=16,
    embed_dim=24,
    inner_dim=12,
    depth=3,
    num_heads=3,
    inner_num_heads=2,
)

TINY = {
    "plain": TNT,
    "legacy": replace(TNT, legacy=True, in_chans=1, depth=2),
    "squeezed": replace(
        TNT, embed_dim=48, squeeze=True, qkv_bias=True, patch_size=8, inner_stride=3, depth=2
    ),
}
FIXED = ()

QUICK = {
    "tnt_s_patch16_224": {"image_size": (64, 96), "depth": 3},
    "tnt_b_patch16_224": {"image_size": (64, 64), "depth": 2},
    "tnt_ti_patch16_224": {"image_size": (48, 32), "depth": 2},
    "tnt_s_legacy_patch16_224": {"image_size": (96, 64), "depth": 2},
}


def peers(name, config, num_classes):
    return [] if config.squeeze else [lambda: timm_s(config, num_classes)]


def timm_s(config, num_classes):
    """Return timm's network of a configuration."""
    from timm.models.tnt import TNT

    assert config.mlp_ratio == 4.0  # which the inner MLP of theirs always has
    model = TNT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        in_chans=config.in_chans,
        num_classes=num_classes,
        embed_dim=config.embed_dim,
        inner_dim=config.inner_dim,
        depth=config.depth,
        num_heads_inner=config.inner_num_heads,
        num_heads_outer=config.num_heads,
        qkv_bias=config.qkv_bias,
        first_stride=config.inner_stride,
        legacy=config.legacy,
    )

    def see(model, batch):
        x, levels = model.forward_intermediates(batch, return_prefix_tokens=True)
        taps = {f"blocks.{i}": Tap(*level) for i, level in enumerate(levels)}
        grid = taps["blocks.0"].map.shape[2:]
        final = Tap(x[:, 1:].mT.unflatten(2, grid), x[:, :1])
        return model.forward_head(x), {**taps, "final": final}

    return Peer(label="timm", model=model, format="timm", see=see)


def config(golden):
    kwargs = golden.kwargs
    own = {
        "patch_size": kwargs.get("patch_size", 16),
        "embed_dim": kwargs.get("outer_dim", 768),
        "inner_dim": kwargs.get("inner_dim", 48),
        "depth": kwargs.get("depth", 12),
        "num_heads": kwargs.get("outer_num_heads", 12),
        "inner_num_heads": kwargs.get("inner_num_heads", 4),
        "inner_stride": kwargs.get("inner_stride", 4),
    }
    return TNTConfig(
        image_size=tuple(golden.image.shape[2:]),
        in_chans=kwargs.get("in_chans", 3),
        mlp_ratio=float(kwargs.get("mlp_ratio", 4)),
        qkv_bias=kwargs.get("qkv_bias", False),
        squeeze=kwargs.get("se", 0) > 0,
        **own,
    )


GOLDENS = {"orig_tnt_": of_classifier("tnt", "authors", config)}
