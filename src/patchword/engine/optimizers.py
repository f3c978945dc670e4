"""Optimizers and their parameter groups, for any task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer

from patchword.errors import ConfigError

Name: TypeAlias = Literal[
    "adamw", "adam", "sgd", "lamb", "lars", "muon", "schedule_free_adamw", "schedule_free_sgd"
]


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How weights are moved."""

    name: Name = "adamw"
    lr: float = 1e-3  # peak; for `lr_batch` images per step where that is set, else as it is
    lr_batch: int | None = None  # the rate grows in proportion to the batch from here
    weight_decay: float = 0.05  # of matrices and kernels; norms, biases, positions, tokens: none
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # of SGD, LARS and Muon; of schedule-free ones their beta
    sharpness: float = 0.0  # SAM's rho, around any of them; a step then costs two gradients
    clip: float | None = None  # largest norm of the gradient
    layer_decay: float = 1.0  # each part of the spine learns at this times the rate of the next
    head_lr: float = 1.0  # what stands behind the spine learns at this times the rate
    rates: tuple[tuple[str, float], ...] = ()  # factors on the rate of parameters whose names fit
    # a pattern, as in ("*.offsets.*", 0.1)

    def __post_init__(self) -> None:
        if not min([self.head_lr, *(by for _, by in self.rates)]) > 0:
            raise ConfigError(f"head_lr is {self.head_lr}, rates {self.rates}; wanted: above 0")
        if self.sharpness < 0:
            raise ConfigError(f"sharpness is {self.sharpness}; wanted: 0 or more")
        if self.name.startswith("schedule_free") and not 0 < self.momentum < 1:
            raise ConfigError(f"momentum is {self.momentum}; wanted: above 0 and below 1")

    def peak(self, batch_size: int) -> float:
        """Return the peak rate for a number of images per step."""
        return self.lr * batch_size / self.lr_batch if self.lr_batch else self.lr


NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.BatchNorm1d)


def freeze(
    spine: Sequence[nn.Module], share: float | Literal["below_norm"]
) -> tuple[nn.Module, ...]:
    """Keep parts of a spine as they are: no gradients; return them.

    Args:
        spine: a backbone's parts in order of depth.
        share: of the parts, from 0 to 1, the first ones; or all that stands below the last norm,
            in convnets the last batch norm.
    """
    if share != "below_norm":
        frozen = tuple(spine[: round(share * len(spine))])
        for part in frozen:
            part.requires_grad_(False)
        return frozen
    for part in spine:
        part.requires_grad_(False)
    parts = [module for part in spine for module in part.modules()]
    last = [module for module in parts if isinstance(module, NORMS)][-1].requires_grad_(True)
    return tuple(module for module in parts if module is not last and not [*module.children()])


def groups(
    model: nn.Module,
    spine: Iterable[nn.Module],
    weight_decay: float,
    layer_decay: float,
    *,
    head_lr: float = 1.0,
    rates: Sequence[tuple[str, float]] = (),
) -> list[dict[str, object]]:
    """Sort a model's parameters by weight decay, share of the rate, and being hidden matrices.

    Only the weights of linear layers and convolutions decay. The last part of the spine has the
    whole rate.

    Args:
        model: what is trained.
        spine: its backbone's parts in order of depth.
        weight_decay: of the weights that decay.
        layer_decay: factor on the rate per part, counted from the last.
        head_lr: factor on the rate of what stands behind the spine.
        rates: patterns of names, and the factor on the rate of parameters that fit.
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
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if id(parameter) in decays else 0.0
            place = depth.get(id(parameter))
            share = head_lr if place is None else layer_decay**place
            share *= prod(by for pattern, by in rates if fnmatchcase(name, pattern))
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
    parameters = groups(
        model,
        spine,
        optim.weight_decay,
        optim.layer_decay,
        head_lr=optim.head_lr,
        rates=optim.rates,
    )
    peak = optim.peak(batch_size)
    for group in parameters:
        group["peak"] = group["lr"] = peak * float(str(group.pop("share")))
    made = _made(optim, parameters)
    if not optim.sharpness:
        return made
    from patchword.optim.sam import SAM

    return SAM(made, optim.sharpness)


def _made(optim: Optim, parameters: list[dict[str, object]]) -> Optimizer:
    match optim.name:
        case "adamw":
            return torch.optim.AdamW(parameters, betas=optim.betas, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, betas=optim.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, momentum=optim.momentum)
        case "lamb":
            from patchword.optim.lamb import Lamb

            return Lamb(parameters, betas=optim.betas)
        case "lars":
            from patchword.optim.lars import Lars

            return Lars(parameters, momentum=optim.momentum)
        case "muon":
            from patchword.optim.muon import Muon

            return Muon(parameters, momentum=optim.momentum, betas=optim.betas)
        case "schedule_free_adamw" | "schedule_free_sgd":
            from patchword.optim.schedule_free import ScheduleFree

            beta2 = optim.betas[1] if optim.name == "schedule_free_adamw" else None
            return ScheduleFree(parameters, momentum=optim.momentum, beta2=beta2)
