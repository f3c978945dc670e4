"""torchvision's ViT, with patches and with a convolutional stem (ViT_C), at perturbed weights."""

import pytest
import torch

from patchword.heads.classify import classifier
from patchword.models import vit, vitc
from patchword.weights import fill, recognise
from tests.parity.compare import TOLERANCE, errors
from tests.parity.peers import CLASSES, Sight, gradients, images, perturbed, split

pytestmark = pytest.mark.peers

SIZES = {"image_size": (32, 32), "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
STEM = {"channels": (8, 16, 24), "strides": (2, 2, 2)}
CASES = {"vit": (vit, vit.ViTConfig(**SIZES)), "vitc": (vitc, vitc.ViTCConfig(**SIZES, **STEM))}


def reference(config):
    from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer

    stem = None
    if isinstance(config, vitc.ViTCConfig):
        pairs = zip(config.channels, config.strides, strict=True)
        stem = [ConvStemConfig(width, 3, stride) for width, stride in pairs]
    model = VisionTransformer(
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_layers=config.depth,
        num_heads=config.num_heads,
        hidden_dim=config.embed_dim,
        mlp_dim=int(config.embed_dim * config.mlp_ratio),
        num_classes=CLASSES,
        conv_stem_configs=stem,
    )
    return perturbed(model, "torchvision").eval()


@pytest.mark.parametrize("kind", CASES)
def test_a_network_is_torchvision_s(kind):
    family, config = CASES[kind]
    theirs, batch, seen = reference(config), images(config), {}
    for i, layer in enumerate(theirs.encoder.layers):
        layer.register_forward_hook(lambda *call, i=i: seen.update({f"blocks.{i}": call[-1]}))
    theirs.encoder.ln.register_forward_hook(lambda *call: seen.update(final=call[-1]))
    logits = theirs(batch)
    format_ = recognise(family.FORMATS, theirs.state_dict())
    assert format_.name == "torchvision"
    grid = tuple(side // config.patch_size for side in config.image_size)
    wanted = Sight(
        logits=logits.detach(),
        taps={name: split(tokens.detach(), grid) for name, tokens in seen.items()},
        gradients=format_.load(gradients(theirs, logits)),
    )
    ours = classifier(config.build(), CLASSES).eval()
    fill(ours, format_.load(theirs.state_dict()))
    names = [level.name for level in ours.backbone.levels]
    taps = ours.backbone(batch, taps=names).taps
    logits = ours(batch)
    found = Sight(
        logits=logits.detach(),
        taps=dict(zip(names, taps, strict=True)),
        gradients=gradients(ours, logits),
    )
    measured = errors(found, wanted)
    assert all(measured[what] <= limit for what, limit in TOLERANCE.items()), measured
    back = format_.save(ours.state_dict())
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())
