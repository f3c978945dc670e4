"""Dense models beside live references: answers, and the gradient of every parameter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tests.heads.made import filled
from tests.parity.compare import NOISE, relative
from tests.parity.compare import gradients as gradients_of
from tests.parity.peer import images, perturbed

CLOSE = {"answers": 2e-5, "gradients": 2e-4}


@dataclass(frozen=True, kw_only=True)
class DensePeer:
    """A reference, and what makes the same network of ours.

    Attributes:
        model: theirs.
        see: its answers to images under our names of the heads, at the images' size.
        pair: configs of backbone and head.
        file, format, family: of the head, of the names (or the format itself), of the backbone.
        classes: how many.
    """

    model: nn.Module
    see: Callable[[nn.Module, torch.Tensor], dict[str, torch.Tensor]]
    pair: tuple[Any, Any]
    file: str
    format: Any
    family: str
    classes: int = 5


def steady(model, see, config):
    """Let batch norms take the statistics of images, so that signals keep their size."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        see(model, images(config, 4))
    model.eval()


def apart(peer, name, *, gradients=True):
    """Return how far ours is from a reference: answers, and gradients, in double precision."""
    config = peer.pair[0]
    perturbed(peer.model, name).eval()
    steady(peer.model, peer.see, config)
    ours, format_ = filled(
        peer.file, peer.format, peer.family, peer.pair, peer.model.state_dict(), peer.classes
    )
    batch = images(config)
    with torch.no_grad():
        found, wanted = ours.heads(batch), peer.see(peer.model, batch)
    assert found.keys() == wanted.keys()
    answers = {"answers": max(relative(found[key], wanted[key]) for key in wanted)}
    return {**answers, "gradients": slopes_apart(peer, ours, format_)} if gradients else answers


def slopes_apart(peer, ours, format_):
    """Return how far the gradients of every head's answers are apart."""
    config = peer.pair[0]
    ours.double(), peer.model.double()
    batch = images(config).double()
    said = ours.heads(batch)
    slopes = gradients_of(ours, torch.cat([*said.values()], dim=1))
    found = peer.see(peer.model, batch)
    theirs = gradients_of(peer.model, torch.cat([found[key] for key in said], dim=1))
    theirs = format_.load(theirs, config)
    assert slopes.keys() == theirs.keys(), slopes.keys() ^ theirs.keys()
    floor = NOISE * max(slope.abs().max().item() for slope in theirs.values())
    return max(
        relative(slopes[key], theirs[key])
        for key in slopes
        if max(slopes[key].abs().max(), theirs[key].abs().max()) > floor
    )
