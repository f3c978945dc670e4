"""A live reference: another library's network, or the plain form of ours where there is none."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import nn

from patchword.features import Tap
from patchword.layers import to_map
from patchword.weights import Format

CLASSES = 10  # of the heads that are compared


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A reference with fresh weights, in evaluation mode.

    Attributes:
        label: the library's name.
        model: the network.
        format: of its state dict: a name among the family's FORMATS, or one of its own.
        see: runs the model on images; returns logits, and its levels under our names, as taps or
            as maps where there are no prefix tokens. A level that they cannot show is left out.
        root: what stands before the backbone's names.
    """

    label: str
    model: nn.Module
    format: str | Format
    see: Callable[[nn.Module, torch.Tensor], tuple[torch.Tensor, dict[str, Tap | torch.Tensor]]]
    root: str = ""


def images(config, count=2, size=None):
    generator = torch.Generator().manual_seed(0)
    shape = (count, config.in_chans, *(size or config.image_size))
    return torch.randn(shape, generator=generator)


def varied(config, count):
    """Return images of different brightness and contrast.

    Pooled maps then differ between images; of plain noise all are alike, and a batch norm of them
    would blow rounding up.
    """
    batch = images(config, count)
    batch *= torch.linspace(0.5, 2.0, count).view(-1, 1, 1, 1)
    return batch + torch.linspace(-1.0, 1.0, count).view(-1, 1, 1, 1)


def perturbed(model, name):
    """Move every tensor of a model, so that none has a value by which it could be overlooked.

    Running variances stay positive; whole numbers (indices, counts) stay as they are.
    """
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    with torch.no_grad():
        for key, tensor in model.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if key.endswith("running_var"):
                tensor *= (0.2 * noise).exp()
            elif isinstance(tensor, nn.Parameter) or key.endswith("running_mean"):
                tensor += (0.1 if tensor.ndim <= 1 else 0.02) * noise
    return model


def settled(peer, config):
    """Let a peer's batch norms take the statistics of images, so that signals keep their size."""
    norms = [m for m in peer.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    if norms:
        with torch.no_grad():
            peer.see(peer.model, varied(config, 8))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    peer.model.train().eval()  # some keep what they worked out in evaluation, as LeViT's biases


@contextmanager
def outputs(modules):
    """Gather what modules return inside the block: {name: module} -> {name: output}."""
    seen = {}
    handles = [
        module.register_forward_hook(lambda *call, name=name: seen.update({name: call[-1]}))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def split(tokens, grid):
    """Return tokens (b n c), the grid's last, as a tap."""
    prefix = tokens.shape[1] - grid[0] * grid[1]
    return Tap(to_map(tokens, grid), tokens[:, :prefix])
