"""SegFormer beside its authors' tensors and transformers'."""

from patchword.heads.segformer import SegFormerConfig
from tests.families import mit, pvtv2, vit
from tests.heads.made import filled

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
