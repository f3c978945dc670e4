"""How far heads look: the mean attention distance."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.inspection.attention import each_map
from patchword.inspection.drawn import Heads
from patchword.inspection.watch import AttentionMap
from patchword.layers import Grid


def mean_distance(seen: AttentionMap, size: Grid) -> Float[Tensor, "b heads"]:
    """Return the mean distance from a cell to the cells that it attends to, in pixels.

    Distances are between centres, weighed by attention and averaged over the cells that ask
    (Dosovitskiy et al. 2021, appendix D.7, figure 7 right). Prefix tokens and padding, which lie
    nowhere, are left out, and each row's other weights made to sum to 1; weights below 0 count by
    their size. It is 0 for a head that looks at its own cell alone; NaN where no cell asks.

    Args:
        seen: a map, as `each_map` and `watch` show it.
        size: rows and columns of the image in pixels, which the grids cover evenly.
    """
    layout = seen.layout
    queries, keys = (places - layout.prefix for places in seen.places())
    starts, ends = centres(layout.grid, size), centres(layout.key_grid, size)
    apart = torch.cdist(starts[queries.clamp(min=0).cpu()], ends[keys.clamp(min=0).cpu()])
    apart = apart.to(seen.weights)[:, None]  # parts 1 n m
    weights = seen.weights.abs() * (keys >= 0)[:, None, None]
    rows = (weights * apart).sum(-1) / weights.sum(-1)
    asks = (queries >= 0)[:, None]
    return rows.where(asks, 0).sum((1, 3)) / asks.sum()


def centres(grid: Grid, size: Grid) -> Float[Tensor, "n 2"]:
    """Return row and column, in pixels, of the centre of each cell of a grid over an image."""
    sides = [
        (torch.arange(cells, dtype=torch.float64) + 0.5) * pixels / cells
        for cells, pixels in zip(grid, size, strict=True)
    ]
    return torch.cartesian_prod(*sides)


def attention_distance(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Heads:
    """Return the mean attention distance of each head in pixels, averaged over images.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them; 16 and more make a stable mean.

    Returns:
        by operator's name, in order of depth, but for those that class tokens alone ask; empty
        where nothing attends between cells. Early layers of a trained ViT have heads near and
        far, late ones far alone.
    """
    size = (images.shape[2], images.shape[3])

    def reduce(seen: AttentionMap) -> Tensor | None:
        asks = (seen.layout.queries >= seen.layout.prefix).any()
        return mean_distance(seen, size).mean(0) if asks else None

    found = each_map(model, images, reduce)
    return Heads({name: pixels for name, pixels in found.items() if pixels is not None})
