"""Heads' gradients beside differences of their answers, for those that no library has."""

from dataclasses import replace

import torch

from patchword.heads.detector import Extent, SetHead
from patchword.heads.panoptic import PanopticHead
from tests.contract.tiny import images
from tests.heads import HEADS
from tests.heads.made import made

STEP = 1e-6  # of a tensor, in double precision
NEAR = 1e-5  # an error that is the differences' own
DETACHED = {"sparse_rcnn": {"depth": 1}}  # boxes are taken on without a gradient between stages
ASIDE = {"sparse_rcnn": ("boxes",)}  # regions are read where boxes lie, without a gradient
ALONE = [name for name, it in HEADS.items() if not it.PEERS]


def pairs(name):
    """Return the tiny networks whose gradients are to be those of differences, by kind."""
    changes = DETACHED.get(name, {})
    return {kind: (c, replace(head, **changes)) for kind, (c, head) in HEADS[name].TINY.items()}


def differences_apart(name, pair):
    """Return how far gradients are from differences, along one way per tensor of head and levels.

    Args:
        name: of the head's file.
        pair: configs of backbone and head.

    Returns:
        the largest error, over the length of its tensor's gradient.
    """
    torch.manual_seed(0)
    model, batch = made(pair).double(), images(pair[0]).double()
    with torch.no_grad():
        taps = model.backbone(batch, taps=model.head.levels).taps
    tensors = {n: p for n, p in model.head.named_parameters() if n not in ASIDE.get(name, ())}
    tensors |= {f"levels.{i}": tap.map.requires_grad_() for i, tap in enumerate(taps)}
    whole = Extent(tuple(batch.shape[2:]))

    def value():
        """Weigh all answers by numbers that are always the same."""
        total = 0.0
        for i, part in enumerate(answers(model.head, taps, whole)):
            weights = torch.randn(part.shape, generator=torch.Generator().manual_seed(i))
            total = total + (part * weights).sum()
        return total

    slopes = torch.autograd.grad(value(), [*tensors.values()], allow_unused=True)
    least = 1e-3 * max(slope.norm().item() for slope in slopes if slope is not None)
    worst = 0.0
    for tensor, slope in zip(tensors.values(), slopes, strict=True):
        way = torch.randn_like(tensor)
        way *= STEP / way.norm()
        with torch.no_grad():
            held, ends = tensor.clone(), []
            for end in (held + way, held - way):
                tensor.copy_(end)
                ends.append(value().item())
            tensor.copy_(held)
        slope = torch.zeros_like(tensor) if slope is None else slope
        error = (ends[0] - ends[1]) / (2 * STEP) - (slope * way).sum().item() / STEP
        worst = max(worst, abs(error) / max(slope.norm().item(), least))
    return worst


def answers(head, taps, extent):
    """Return all that a head answers with."""
    if isinstance(head, PanopticHead):
        return [*head.answers(taps).values()]
    if isinstance(head, SetHead):
        return [part for one in head.heads(taps, extent).values() for part in one[:2]]
    return [*head.heads(taps).values()]
