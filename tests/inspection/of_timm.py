"""Attention maps of ours beside timm's own weights, worked out there with fused kernels off."""

from dataclasses import replace

import torch
from torch.overrides import TorchFunctionMode

from patchword import models
from patchword.inspection.attention import each_map
from tests.parity.compare import loaded, peers
from tests.parity.golden import layer_of
from tests.parity.peer import images, perturbed

NETWORKS = {  # of each family that timm has, and changes that make it small
    "beit_base_patch16_224": {"image_size": (48, 64), "depth": 2},
    "beitv2_base_patch16_224": {"image_size": (64, 48), "depth": 2},
    "cait_xxs24_224": {"image_size": (64, 48), "depth": 2},
    "convit_tiny": {"image_size": (64, 64), "depth": 4, "local_depth": 2},
    "deit_tiny_distilled_patch16_224": {"image_size": (48, 32), "depth": 2},
    "deit3_small_patch16_224": {"image_size": (64, 48), "depth": 2},
    "levit_128s": {"image_size": (64, 96), "depth": (1, 2, 1)},
    "pit_xs_distilled_224": {"image_size": (64, 64), "depth": (1, 2, 1)},
    "pvt_v2_b0": {"image_size": (64, 96), "depth": (1, 1, 1, 1)},
    "pvt_v2_b2_li": {"image_size": (64, 64), "depth": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": {
        **{"image_size": (72, 120), "embed_dim": 24, "depth": (2, 2, 1, 1)},
    },
    "swinv2_tiny_window8_256": {
        **{"image_size": (72, 120), "embed_dim": 24, "depth": (2, 2, 1, 1)},
    },
    "tnt_s_patch16_224": {"image_size": (32, 48), "depth": 2},
    "vit_base_patch16_clip_quickgelu_224": {"image_size": (64, 48), "depth": 2},
    "vit_tiny_patch16_224": {"image_size": (32, 48), "depth": 2},
    "vit_tiny_r_s16_p8_224": {"image_size": (64, 96), "depth": 2},
    "vitc_mini_28": {"depth": 2},
}


class Softmaxes(TorchFunctionMode):
    """Keeps what every softmax returns."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.__name__ == "softmax":
            self.seen.append(found)
        return found


def weights_of(model, batch):
    """Return timm's own attention weights in order of depth, as its modules make them.

    They are what its dropout of weights is given; in a network without any, what softmaxes return.
    """
    seen, handles = [], []
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if hasattr(module, "attn_drop"):
            handles.append(module.attn_drop.register_forward_hook(lambda *c: seen.append(c[-1])))
    with torch.no_grad(), Softmaxes() as softmaxes:
        model(batch)
    for handle in handles:
        handle.remove()
    return seen or softmaxes.seen


def windowed(model):
    """Return the blocks of a network that attends in windows; of another, none."""
    stages = getattr(model, "layers", ())
    return [block for stage in stages for block in stage.blocks]


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


def maps(name):
    """Yield our map and timm's of each layer, in order of depth; watching changes no bit."""
    config = replace(models.family(name).VARIANTS[name], **NETWORKS[name])
    batch, peer = images(config), next(iter(peers(name, config)))()
    assert "timm" in peer.label
    perturbed(peer.model, name).eval()
    ours = loaded(name, config, peer.format, peer.model.state_dict())
    before = ours(batch)
    found = each_map(ours, batch, lambda seen: seen)
    assert torch.equal(ours(batch), before)
    theirs, blocks = weights_of(peer.model, batch), windowed(peer.model)
    assert len(found) == len(theirs) > 1
    assert not blocks or any(any(block.shift_size) for block in blocks)
    for i, (seen, expected) in enumerate(zip(found.values(), theirs, strict=True)):
        assert expected.std() > 1e-4
        if blocks:
            whole = seen.laid()
            yield whole, laid(blocks[i], expected, whole.shape[2])
        elif seen.layout.in_batch:  # patches, each of whose words attend to one another
            yield seen.weights, expected.unflatten(0, (len(batch), -1))
        else:
            yield seen.laid()[:, :, : expected.shape[2]], expected  # a class token asks alone


def layer():
    """Yield the map of a non-local layer, and timm's; it has no network of them to compare."""
    from timm.layers import NonLocalAttn

    from patchword.inspection.watch import record
    from patchword.models.nonlocal_net import NonLocal
    from tests.parity.test_plain_nonlocal_net import TIMM

    theirs = perturbed(NonLocalAttn(24, rd_channels=8), "nonlocal").eval()
    ours = NonLocal(24, 8, affinity="embedded_gaussian", scale=24**-0.5, pool="none").eval()
    layer_of(TIMM, ours, theirs.state_dict(), "", "")
    x = torch.randn(2, 24, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), record(ours) as seen:
        ours(x)
    ((found,), (expected,)) = seen.values(), weights_of(theirs, x)
    yield found[:, 0], expected
