"""Attention maps are timm's own, worked out there with fused kernels off."""

from dataclasses import replace

import pytest
import torch

from patchword import models
from patchword.inspection.attention import attention_maps
from tests.parity.compare import loaded, peers
from tests.parity.peer import images, perturbed

NETWORKS = {
    "vit_tiny_patch16_224": {"image_size": (32, 48), "depth": 2},
    "deit_tiny_distilled_patch16_224": {"image_size": (48, 32), "depth": 2},
    "swin_tiny_patch4_window7_224": {
        **{"image_size": (72, 120), "embed_dim": 24, "depth": (2, 2, 1, 1)},
    },
    "cait_xxs24_224": {"image_size": (64, 48), "depth": 2},
    "pvt_v2_b0": {"image_size": (64, 96), "depth": (1, 1, 1, 1)},
}


def weights_of(model, batch):
    """Return timm's own attention weights in order of depth, as its modules make them."""
    seen, handles = [], []
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if hasattr(module, "attn_drop"):
            handles.append(module.attn_drop.register_forward_hook(lambda *c: seen.append(c[-1])))
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    return seen


def laid(block, weights, tokens):
    """Lay the weights of timm's windows out, by its own rolling, padding and cutting of cells."""
    from timm.models.swin_transformer import window_partition

    rows, columns = block.input_resolution
    numbers = 1 + torch.arange(rows * columns).view(1, rows, columns, 1)
    rolled = torch.roll(numbers, [-s for s in block.shift_size], dims=(1, 2))
    lacking = [-n % w for n, w in zip((rows, columns), block.window_size, strict=True)]
    padded = torch.nn.functional.pad(rolled, (0, 0, 0, lacking[1], 0, lacking[0]))
    cells = window_partition(padded, block.window_size).flatten(1) - 1
    weights = weights.unflatten(0, (-1, len(cells)))  # b windows heads n n
    found = torch.zeros(len(weights), weights.shape[2], tokens, tokens)
    for window, places in enumerate(cells):
        inside = (places >= 0).nonzero()[:, 0]
        at = places[inside]
        found[:, :, at[:, None], at] = weights[:, window][:, :, inside[:, None], inside]
    return found


@pytest.mark.peers
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_timm(name):
    config = replace(models.family(name).VARIANTS[name], **NETWORKS[name])
    batch, maker = images(config), next(iter(peers(name, config)))
    peer = maker()
    assert peer.label == "timm"
    perturbed(peer.model, name).eval()
    ours = loaded(name, config, peer.format, peer.model.state_dict())
    before = ours(batch)
    found, theirs = attention_maps(ours, batch), weights_of(peer.model, batch)
    assert torch.equal(ours(batch), before)
    assert len(found) == len(theirs) > 1
    if name.startswith("swin"):
        blocks = [block for stage in peer.model.layers for block in stage.blocks]
        assert any(any(block.shift_size) for block in blocks)
        pairs = zip(blocks, theirs, found.values(), strict=True)
        theirs = [laid(block, weights, ours.shape[2]) for block, weights, ours in pairs]
    for ours_, expected in zip(found.values(), theirs, strict=True):
        ours_ = ours_[:, :, : expected.shape[2]]  # a class token asks alone
        torch.testing.assert_close(ours_, expected, rtol=1e-4, atol=1e-6)
        assert expected.std() > 1e-3
