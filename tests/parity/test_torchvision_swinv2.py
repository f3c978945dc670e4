"""Swin V2 beside torchvision's, which has biases of keys that it sets to 0 at every pass."""

from dataclasses import replace

import pytest
import torch

from tests.families import swinv2
from tests.parity.compare import (
    TOLERANCE,
    check_two_ways,
    errors,
    format_of,
    loaded,
    sight,
    sight_of,
)
from tests.parity.peer import CLASSES, Peer, images, outputs, perturbed

pytestmark = pytest.mark.peers

NAME = "swinv2_tiny_window8_256"
CONFIG = replace(
    swinv2.SWIN,
    embed_dim=24,
    num_heads=(3, 6),
    mlp_ratio=4.0,
    patch_size=4,
    image_size=(72, 100),
    tiling="torchvision",
)


def torchvision_s(config):
    from torchvision.models import swin_transformer as theirs

    window = config.window_size[0]
    model = theirs.SwinTransformer(
        patch_size=[config.patch_size] * 2,
        embed_dim=config.embed_dim,
        depths=[*config.depth],
        num_heads=[*config.num_heads],
        window_size=[window, window],
        num_classes=CLASSES,
        block=theirs.SwinTransformerBlockV2,
        downsample_layer=theirs.PatchMergingV2,
    )

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.features[1::2])}
        with outputs({**stages, "final": model.norm}) as seen:
            logits = model(batch)
        return logits, {name: x.permute(0, 3, 1, 2) for name, x in seen.items()}

    return Peer(label="torchvision", model=model, format="torchvision", see=see)


def test_padded_windows_are_torchvision_s():
    peer = torchvision_s(CONFIG)
    perturbed(peer.model, NAME).eval()
    with torch.no_grad():
        for name, parameter in peer.model.named_parameters():
            if name.endswith("qkv.bias"):
                parameter.chunk(3)[1].zero_()
    weights, format_ = peer.model.state_dict(), format_of(NAME, "torchvision")
    ours = loaded(NAME, CONFIG, "torchvision", weights)
    check_two_ways(format_, weights, ours, "")
    batch = images(CONFIG)
    found = errors(sight(ours, batch), sight_of(peer, format_, batch))
    assert all(found[what] <= limit for what, limit in TOLERANCE.items()), found
