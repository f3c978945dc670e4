"""Linear maps and convolutions with a batch norm each (LeViT, TinyViT, EfficientFormer, ...)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


class Normed(nn.Module):
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
        """Return the one map that both are in evaluation mode."""
        if isinstance(self.linear, nn.Conv2d):
            return fuse_conv_bn_eval(self.linear, self.bn)
        return fuse_linear_bn_eval(self.linear, self.bn)


def fold(model: nn.Module) -> None:
    """Fold the batch norm of every `Normed` of a model in evaluation mode into its map."""
    for part in [*model.modules()]:
        for name, child in part.named_children():
            if isinstance(child, Normed):
                setattr(part, name, child.fused())


@torch.no_grad()
def fold_into(linear: nn.Linear, norm: nn.Module) -> None:
    """Fold a batch norm in evaluation mode that stands before a linear map into that map."""
    shift = norm(linear.weight.new_zeros(1, linear.in_features))
    scale = norm(linear.weight.new_ones(1, linear.in_features)) - shift
    linear.bias.add_(F.linear(shift, linear.weight)[0])
    linear.weight.mul_(scale)
