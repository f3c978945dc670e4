"""What the first layer has learnt: patch filters, and which positions are alike."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.features import Backbone
from patchword.inspection.drawn import GridOfGrids, Patterns, drawn
from patchword.layers import Position

M = TypeVar("M", bound=nn.Module)


def filters(
    backbone: Backbone, count: int = 28
) -> Float[Patterns, "count channels rows columns"] | None:
    """Return the principal components of the patch filters (ViT, figure 7 left).

    Of a convolutional stem they are those of its first convolution's filters.

    Args:
        backbone: one with a convolution that reads images; for another, None comes back.
        count: how many at most, in order of the variance that they explain.
    """
    convolutions = (part for part in backbone.modules() if isinstance(part, nn.Conv2d))
    first = next((c for c in convolutions if c.in_channels == backbone.config.in_chans), None)
    if first is None:
        return None
    weight = first.weight.detach().float()
    flat = weight.flatten(1)
    flat = flat - flat.mean(dim=0)
    components = torch.linalg.svd(flat, full_matrices=False).Vh[:count]
    return drawn(Patterns, components.unflatten(1, weight.shape[1:]))


def position_similarity(
    backbone: Backbone,
) -> Float[GridOfGrids, "rows columns rows columns"] | None:
    """Return the cosine of each cell's position with every other's (ViT, figure 7 centre).

    Mean over cells is taken away first, so that a part common to all does not hide the rest. None
    comes back where the backbone has no positions of cells, or none that differ.
    """
    position = _first(backbone, Position)
    if position is None or (stride := backbone.levels[0].stride) is None:
        return None
    sides = zip(backbone.config.image_size, stride, strict=True)
    rows, columns = (-(-side // step) for side, step in sides)
    table: Tensor = position((rows, columns))[0, position.prefix :].detach().float()
    table = table - table.mean(dim=0)
    if not table.abs().max() > 0:
        return None
    table = F.normalize(table, dim=1)
    return drawn(GridOfGrids, (table @ table.T).view(rows, columns, rows, columns))


def _first(model: nn.Module, kind: type[M]) -> M | None:
    return next((module for module in model.modules() if isinstance(module, kind)), None)
