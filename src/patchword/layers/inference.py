"""The form in which a network answers fastest, and learns no more."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.answering import answering
from patchword.layers.block import Activated, Branching, LayerScale, Mlp, QuickGELU
from patchword.layers.normed import fold
from patchword.layers.packed import ACTS, KeptAnswer, PackedConv, PackedResidual, StandIn, packed
from patchword.layers.pieces import Piecewise, count_pieces
from patchword.layers.position import Standing
from patchword.layers.residual import Residual


def for_inference(model: nn.Module) -> nn.Module:
    """Give a model the form in which it answers fastest: norms folded, weights packed, and more.

    The model is changed in place, answers as before but for rounding, and cannot be trained on.
    Packed weights take as much memory as the plain ones, which stay for what else reads them;
    they are made when they are first needed, on a CPU, with no gradients, where they are faster.

    Args:
        model: any, in evaluation mode.

    Returns:
        the model.
    """
    fold(model)
    for part in [*model.modules()]:
        if isinstance(part, Branching):
            unscaled(part)
        if isinstance(part, Activated) and type(part.act) is QuickGELU:
            eased(part)
        if isinstance(part, Activated) and type(part.act) in ACTS:
            child = part.get_submodule(part.activated)
            if (made := packed(child, part.act)) is not child:
                setattr(part, part.activated, made)
                part.act = nn.Identity()
        if isinstance(part, nn.Sequential):
            for i, (child, after) in enumerate([*pairwise(part)]):
                if type(after) in ACTS and (made := packed(child, after)) is not child:
                    part[i], part[i + 1] = made, nn.Identity()
        for name, child in [*part.named_children()]:
            setattr(part, name, packed(child))
    for part in [*model.modules()]:
        for name, child in [*part.named_children()]:
            if isinstance(child, Piecewise):
                setattr(part, name, InPieces(child))
            if isinstance(child, Residual):
                setattr(part, name, summed(child))
            if isinstance(child, Standing):
                setattr(part, name, KeptAnswer(child))
    return model


class InPieces(StandIn):
    """What takes a few images at a time on a CPU, so that what it holds of them stays near."""

    own: Piecewise

    def forward(self, x: Float[Tensor, "b ..."], *given: object) -> Float[Tensor, "b ..."]:
        """Answer for a batch, whatever else is given being for all of it."""
        taken = self.own.held(x) * x.element_size()
        pieces = count_pieces(len(x), taken) if answering(x) else 1
        if pieces == 1:
            return self.own(x, *given)
        return torch.cat([self.own(piece, *given) for piece in x.chunk(pieces)])


@torch.no_grad()
def unscaled(block: Branching) -> None:
    """Put the scales of a block into the maps in which its branches end."""
    for name, branch in block.scales:
        scale, last = block.get_submodule(name), ending(block.get_submodule(branch))
        if isinstance(scale, LayerScale) and last is not None:
            last.weight.mul_(scale.gamma.view(-1, *[1] * (last.weight.ndim - 1)))
            if last.bias is not None:
                last.bias.mul_(scale.gamma)
            setattr(block, name, nn.Identity())


def ending(branch: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """Return the map in which a branch ends; None if that is another kind of module."""
    if isinstance(branch, nn.Sequential):
        return ending(branch[-1])
    if type(branch) is Mlp:  # one that is made of it may do more
        return branch.fc2
    last = getattr(branch, "proj", branch)  # as the last map of attention is called
    return last if isinstance(last, nn.Linear | nn.Conv2d) else None


@torch.no_grad()
def eased(mlp: Activated) -> None:
    """Turn x sigmoid(1.702 x) into SiLU, which is one pass, by scaling the maps around it."""
    slope = QuickGELU.slope
    for own in mlp.get_submodule(mlp.activated).parameters():
        own.mul_(slope)
    mlp.fc2.weight.div_(slope)
    mlp.act = nn.SiLU()


def summed(block: Residual) -> nn.Module:
    """Return a block that takes its sum and its ReLU in the last convolution of its branch.

    It is the block itself where the branch does not end in a convolution.
    """
    *before, last = chained(block.branch)
    if isinstance(last, PackedConv) and last.act is None:
        return PackedResidual(nn.Sequential(*before), last, block.shortcut)
    return block


def chained(module: nn.Module) -> list[nn.Module]:
    """Return the modules that are called one after the other, without those that do nothing."""
    if not isinstance(module, nn.Sequential):
        return [] if isinstance(module, nn.Identity) else [module]
    return [part for child in module for part in chained(child)]
