"""CLIP's image tower beside timm's, and beside its authors' own code."""

from dataclasses import replace

from patchword.heads.classify import classifier
from patchword.models.clip import FORMATS, CLIPConfig
from patchword.weights import fill
from patchword.weights.systems import encoder_of
from tests.families import vit

CLIP = CLIPConfig(image_size=(32, 48), patch_size=8, **vit.SMALL)
TINY = {"exact": CLIP, "quick": replace(CLIP, act="quick", in_chans=2)}
FIXED = ()

QUICK = {
    "vit_base_patch32_clip_224": {"image_size": (64, 96), "depth": 2},
    "vit_base_patch16_clip_quickgelu_224": {"image_size": (64, 48), "depth": 2},
}


def peers(name, config, num_classes):
    return [lambda: vit.timm_s(name, config, num_classes)]


def tower(golden):
    """Answer as the image half of the authors' two towers."""
    kwargs = golden.about["config"]
    side = kwargs["image_resolution"]
    config = CLIPConfig(
        image_size=(side, side),
        patch_size=kwargs["vision_patch_size"],
        embed_dim=kwargs["vision_width"],
        depth=kwargs["vision_layers"],
        num_heads=kwargs["vision_width"] // 64,
        act="quick",
    )
    found = encoder_of(golden.weights)
    assert found.system.name == "CLIP"
    model = classifier(config.build(), kwargs["embed_dim"]).eval()
    fill(model, FORMATS[1].load(found.tensors), fresh=["head.label.bias"])
    return {"image_features": model(golden.image)}


GOLDENS = {"openai_clip_vit_": tower}
