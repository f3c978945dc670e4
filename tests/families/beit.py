"""BEiT beside timm's and transformers', and beside its authors' own code."""

from dataclasses import replace

from patchword.features import Tap
from patchword.models.beit import BEiTConfig
from tests.families.vit import SMALL
from tests.parity.golden import of_classifier
from tests.parity.peer import Peer, outputs, split

BEIT = BEiTConfig(image_size=(32, 48), patch_size=8, **SMALL)
TINY = {
    "each": BEIT,
    "shared": replace(BEIT, relative="shared", patch_size=4, image_size=(12, 16), in_chans=1),
    "absolute": replace(BEIT, relative="none", absolute=True, pool="token", layer_scale=None),
    "token": replace(BEIT, pool="token", depth=2),
}
FIXED = ()

QUICK = {
    "beit_base_patch16_224": {"image_size": (96, 64), "depth": 2},
    "beit_base_patch16_384": {"image_size": (64, 64), "depth": 2, "relative": "shared"},
    "beit_large_patch16_512": {"image_size": (48, 48), "depth": 1, "pool": "token"},
}


def peers(name, config, num_classes):
    """Return timm's; and transformers', which takes only square tables."""
    makers = [lambda: timm_s(name, config, num_classes)]
    rows, columns = config.image_size
    return [*makers, lambda: transformers_s(config, num_classes)] if rows == columns else makers


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name,
        num_classes=num_classes,
        img_size=config.image_size,
        depth=config.depth,
        use_rel_pos_bias=config.relative == "each",
        use_shared_rel_pos_bias=config.relative == "shared",
        use_abs_pos_emb=config.absolute,
        global_pool="avg" if config.pool == "mean" else "token",
    )
    return Peer(label="timm", model=model, format="timm", see=see_timm)


def see_timm(model, batch):
    tokens, levels = model.forward_intermediates(batch, return_prefix_tokens=True)
    taps = {f"blocks.{i}": Tap(*level) for i, level in enumerate(levels)}
    grid = tuple(taps["blocks.0"].map.shape[2:])
    return model.forward_head(tokens), {**taps, "final": split(tokens, grid)}


def transformers_s(config, num_classes):
    from transformers import BeitConfig, BeitForImageClassification

    model = BeitForImageClassification(
        BeitConfig(
            hidden_size=config.embed_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.num_heads,
            intermediate_size=int(config.embed_dim * config.mlp_ratio),
            layer_norm_eps=config.norm_eps,
            image_size=config.image_size[0],
            patch_size=config.patch_size,
            num_channels=config.in_chans,
            use_relative_position_bias=config.relative == "each",
            use_shared_relative_position_bias=config.relative == "shared",
            use_absolute_position_embeddings=config.absolute,
            layer_scale_init_value=config.layer_scale or 0.0,
            use_mean_pooling=config.pool == "mean",
            num_labels=num_classes,
        )
    )

    def see(model, batch):
        layers = {f"blocks.{i}": layer for i, layer in enumerate(model.beit.layers)}
        with outputs({**layers, "final": model.beit.layernorm}) as seen:
            logits = model(batch).logits
        grid = tuple(side // config.patch_size for side in batch.shape[2:])
        return logits, {name: split(x, grid) for name, x in seen.items()}

    return Peer(
        label="transformers", model=model, format="transformers in memory", see=see, root="beit."
    )


def config(golden):
    kwargs = golden.kwargs
    each = kwargs.get("per_layer_rel_pos_bias", kwargs.get("use_rel_pos_bias", False))
    shared = kwargs.get("shared_rel_pos_bias", kwargs.get("use_shared_rel_pos_bias", False))
    return BEiTConfig(
        image_size=tuple(golden.image.shape[2:]),
        patch_size=kwargs["patch_size"],
        in_chans=golden.image.shape[1],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        mlp_ratio=float(kwargs.get("mlp_ratio", 4)),
        relative="each" if each else "shared" if shared else "none",
        absolute=kwargs.get("abs_pos", kwargs.get("use_abs_pos_emb", False)),
        pool="mean" if "fc_norm.weight" in golden.weights else "token",
        layer_scale=0.1 if "blocks.0.gamma_1" in golden.weights else None,
    )


GOLDENS = {"beit_cls_orig_": of_classifier("beit", "timm", config)}
