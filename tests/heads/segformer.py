"""SegFormer beside its authors' tensors and transformers'."""

from dataclasses import replace

from torch import nn

from patchword.heads.dense import resized
from patchword.heads.segformer import SegFormerConfig
from patchword.models.mit import VARIANTS
from tests.families import mit, pvtv2, vit
from tests.heads import packaged
from tests.heads.made import filled
from tests.heads.peer import DensePeer

FAMILY = "mit"  # the backbone, whose levels are held too
HEAD = SegFormerConfig(channels=24)
TINY = {
    "pyramid": (mit.TINY["narrow"], HEAD),
    "two_levels": (pvtv2.TINY["pooled"], HEAD),
    "plain": (vit.VIT, HEAD),
    "levels": (vit.MEAN, SegFormerConfig(channels=8, levels=("blocks.1", "final"))),
}


def authors(golden):
    """Answer as the authors' encoder and decoder."""
    kwargs = golden.about["config"]
    head = SegFormerConfig(channels=kwargs["decoder_embed_dim"])
    pair = (mit.config(golden), head)
    model, _ = filled("segformer", "authors", "mit", pair, golden.weights, kwargs["num_classes"])
    image = golden.held["in.x"].float()
    names = [*model.backbone.pyramid()[:-1], "final"]
    taps = model.backbone(image, taps=names).taps
    return {
        **{f"stage.{i}": tap.map for i, tap in enumerate(taps)},
        "logits": model.head(taps),
        "logits_full": model(image),
    }


GOLDENS = {"segformer_orig_": authors}


def transformers_s(pair, classes=5):
    """Return transformers' network, with the authors' epsilon in the norms of blocks and stages."""
    from transformers import SegformerConfig as Theirs
    from transformers import SegformerForSemanticSegmentation

    config, head = pair
    model = SegformerForSemanticSegmentation(
        Theirs(
            depths=config.depth,
            sr_ratios=config.sr_ratio,
            hidden_sizes=config.embed_dim,
            patch_sizes=config.patch_size,
            strides=config.stride,
            num_attention_heads=config.num_heads,
            mlp_ratios=[int(ratio) for ratio in config.mlp_ratio],
            decoder_hidden_size=head.channels,
            num_labels=classes,
        )
    )
    for part, module in model.named_modules():
        merges = "patch_embeddings" in part or "sequence_reduction" in part
        if isinstance(module, nn.LayerNorm):
            module.eps = config.reduce_norm_eps if merges else config.norm_eps

    def see(model, batch):
        return {"main": resized(model(batch).logits, batch.shape[2:])}

    return DensePeer(
        model=model,
        see=see,
        pair=pair,
        file="segformer",
        format="transformers in memory",
        family="mit",
        classes=classes,
    )


SMALL = (replace(mit.TINY["narrow"], mlp_ratio=(2.0, 1.0, 3.0, 1.0)), HEAD)
PACKAGED = (replace(VARIANTS["mit_b0"], image_size=(64, 64)), HEAD)
PEERS = {
    "transformers": lambda: transformers_s(SMALL),
    "packaged": lambda: packaged.segformer(PACKAGED),
}
WHOLE = {
    "segformer_b*": {"transformers": transformers_s},
    "segformer_b[0-5]": {packaged.NAME: packaged.segformer},
}
