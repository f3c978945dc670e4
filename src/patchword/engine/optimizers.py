"""Optimizers and their parameter groups, for any task."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How weights are moved."""

    name: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    lr: float = 1e-3  # peak; for `lr_batch` images per step where that is set, else as it is
    lr_batch: int | None = None  # the rate grows in proportion to the batch from here
    weight_decay: float = 0.05  # of matrices and kernels; norms, biases, positions, tokens: none
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # of SGD and Muon
    clip: float | None = None  # largest norm of the gradient
    layer_decay: float = 1.0  # each part of the spine learns at this times the rate of the next

    def peak(self, batch_size: int) -> float:
        """Return the peak rate for a number of images per step."""
        return self.lr * batch_size / self.lr_batch if self.lr_batch else self.lr


def groups(
    model: nn.Module, spine: Iterable[nn.Module], weight_decay: float, layer_decay: float
) -> list[dict[str, object]]:
    """Sort a model's parameters by weight decay, share of the rate, and being hidden matrices.

    Only the weights of linear layers and convolutions decay. The last part of the spine and
    what stands behind it (the head) have the whole rate.

    Args:
        model: what is trained.
        spine: its backbone's parts in order of depth.
        weight_decay: of the weights that decay.
        layer_decay: factor on the rate per part, counted from the last.
    """
    parts = list(spine)
    depth = {id(p): len(parts) - 1 - i for i, part in enumerate(parts) for p in part.parameters()}
    decays = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    }
    hidden = {id(p) for part in parts[1:] for p in part.parameters() if p.ndim == 2}
    sorted_: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = weight_decay if id(parameter) in decays else 0.0
            share = layer_decay ** depth.get(id(parameter), 0)
            matrix = id(parameter) in hidden & decays
            sorted_.setdefault((decay, share, matrix), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "share": share, "matrices": matrix}
        for (decay, share, matrix), parameters in sorted_.items()
    ]


def optimizer(
    optim: Optim, model: nn.Module, spine: Iterable[nn.Module], batch_size: int
) -> Optimizer:
    """Make an optimizer over a model's parameters; each group's `peak` is its highest rate."""
    parameters = groups(model, spine, optim.weight_decay, optim.layer_decay)
    peak = optim.peak(batch_size)
    for group in parameters:
        group["peak"] = group["lr"] = peak * float(str(group.pop("share")))
    match optim.name:
        case "adamw":
            return torch.optim.AdamW(parameters, betas=optim.betas, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, betas=optim.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, momentum=optim.momentum)
        case "muon":
            from patchword.optim.muon import Muon

            return Muon(parameters, momentum=optim.momentum, betas=optim.betas)
