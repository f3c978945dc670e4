"""Linear maps and convolutions with a batch norm each (LeViT, TinyViT, EfficientFormer, ...)."""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

MAPS = (nn.Conv2d.forward, nn.Linear.forward)  # others may have more than a kernel


class Foldable(nn.Module, ABC):
    """What is one map in evaluation mode, of fewer parts than it is trained with."""

    @abstractmethod
    def fused(self) -> nn.Module:
        """Return that map; this module stays as it is."""


class Normed(Foldable):
    """A linear map or a convolution without bias, then batch norm of its channels."""

    def __init__(self, linear: nn.Linear | nn.Conv2d, *, scale: float = 1.0) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if isinstance(linear, nn.Conv2d) else nn.BatchNorm1d
        self.linear, self.bn = linear, norm(len(linear.weight))
        nn.init.constant_(self.bn.weight, scale)

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """Map tokens (b n d) or a map (b d h w)."""
        x = self.linear(x)
        return self.bn(x) if x.ndim == 4 else self.bn(x.flatten(0, 1)).view_as(x)

    def fused(self) -> nn.Module:
        return fused(self.linear, self.bn)


def fused(linear: nn.Linear | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """Return the one map that a map and the batch norm after it are in evaluation mode."""
    if isinstance(linear, nn.Conv2d):
        return fuse_conv_bn_eval(linear, norm)
    return fuse_linear_bn_eval(linear, norm)


def fold(model: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a map into it, for faster inference.

    The model is changed in place, answers as before but for rounding, and cannot be trained on.

    Args:
        model: any, in evaluation mode.

    Returns:
        the model.
    """
    for part in [*model.modules()]:
        children = [*part.named_children()]
        for name, child in children:
            if isinstance(child, Foldable):
                setattr(part, name, child.fused())
        if isinstance(part, nn.Sequential):
            for (name, child), (after, norm) in pairwise(children):
                if (
                    isinstance(child, nn.Conv2d | nn.Linear)
                    and type(child).forward in MAPS
                    and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
                ):
                    setattr(part, name, fused(child, norm))
                    setattr(part, after, nn.Identity())
    return model


@torch.no_grad()
def fold_into(linear: nn.Linear, norm: nn.Module) -> None:
    """Fold a batch norm in evaluation mode that stands before a linear map into that map."""
    shift = norm(linear.weight.new_zeros(1, linear.in_features))
    scale = norm(linear.weight.new_ones(1, linear.in_features)) - shift
    linear.bias.add_(F.linear(shift, linear.weight)[0])
    linear.weight.mul_(scale)
