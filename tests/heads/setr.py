"""SETR beside its authors' tensors."""

from dataclasses import replace

from patchword.heads.setr import SETRConfig
from patchword.models.vit import ViTConfig
from tests.families import pvtv2, vit
from tests.heads.made import filled

FAMILY = None
SMALL = {"channels": 12, "head_channels": 6}
TINY = {
    "naive": (vit.VIT, SETRConfig(**SMALL)),
    "pup": (vit.VIT, SETRConfig(decoder="pup", **SMALL)),
    "mla": (vit.MEAN, SETRConfig(decoder="mla", **SMALL)),
    "pyramid": (pvtv2.TINY["pooled"], SETRConfig(decoder="pup", aux=(), **SMALL)),
    "levels": (vit.VIT, SETRConfig(level="final", aux=("blocks.1",), **SMALL)),
}
FORMATS = {"naive": "authors", "pup": "authors PUP", "mla": "authors MLA"}


def pair(golden):
    """Return the settings that the authors' arguments give, of backbone and head."""
    kwargs, decoder = golden.about["config"], golden.about["cls"].split()[1]
    side = kwargs["img_size"]
    config = ViTConfig(
        image_size=(side, side),
        patch_size=kwargs["patch_size"],
        embed_dim=kwargs["embed_dim"],
        depth=kwargs["depth"],
        num_heads=kwargs["num_heads"],
        resample="bilinear",
    )
    if decoder == "mla":
        config = replace(config, prefix=(), pool="mean")
        wide = {"channels": kwargs["mla_channels"], "head_channels": kwargs["mlahead_channels"]}
        return config, SETRConfig(decoder="mla", aux=(), **wide)
    aux = ("blocks.0", "blocks.1")
    return config, SETRConfig(decoder=decoder, channels=24, level="blocks.2", aux=aux)


def authors(golden):
    """Answer as the authors' encoder, decoder and auxiliary heads."""
    config, head = pair(golden)
    classes = golden.about["config"]["num_classes"]
    model, _ = filled("setr", FORMATS[head.decoder], "vit", (config, head), golden.weights, classes)
    image = golden.held["in.x"].float()
    found = model.heads(image)
    assert (found["main"] == model(image)).all()
    return {"logits": found.pop("main"), **found}


GOLDENS = {"setr_orig_": authors}
PEERS = {}
