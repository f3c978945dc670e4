"""Attention rollout: what reaches the answer through all layers, if attention were all there is.

Abnar & Zuidema 2020, arXiv:2005.00928, section 3: heads are averaged, half of each token is taken
to have come by the residual connection, and the layers' maps are multiplied. One row of that
product is wanted, so it is carried from the last layer to the first, vector by map, through
windows, merged keys and coarser stages alike; no product of maps is ever made.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.inspection.attention import backbone_of, each_map, ends_on_cells, reader
from patchword.inspection.drawn import Heat, drawn
from patchword.inspection.watch import AttentionMap
from patchword.layers import Grid


class Row(NamedTuple):
    """How much of each token is in what is asked about."""

    tokens: Float[Tensor, "b n"]  # prefix, then cells row by row
    grid: Grid

    @property
    def prefix(self) -> int:
        """How many tokens stand before the cells."""
        return self.tokens.shape[1] - self.grid[0] * self.grid[1]

    def fitted(self, prefix: int, grid: Grid) -> "Row":
        """Return it over the tokens of an earlier layer.

        A coarse cell's share is spread evenly over the finer cells that it covers, several finer
        cells' shares are added. Prefix tokens that did not exist yet are dropped, as they come
        from no pixel; new ones hold nothing.
        """
        before, cells = self.tokens.split([self.prefix, self.grid[0] * self.grid[1]], dim=1)
        before = F.pad(before, (0, prefix - before.shape[1]))[:, :prefix]
        if grid != self.grid:
            down, across = (covering(*pair) for pair in zip(self.grid, grid, strict=True))
            maps = cells.unflatten(1, self.grid)
            cells = (down.to(cells).T @ maps @ across.to(cells)).flatten(1)
        return Row(torch.cat([before, cells], dim=1), grid)


def covering(old: int, new: int) -> Float[Tensor, "old new"]:
    """Return which share of each of the old cells of an axis lies on each of the new ones."""
    edges = [torch.arange(cells + 1, dtype=torch.float64) / cells for cells in (old, new)]
    (low, high), (left, right) = ((edge[:-1], edge[1:]) for edge in edges)
    overlap = torch.minimum(high[:, None], right) - torch.maximum(low[:, None], left)
    return overlap.clamp(min=0) * old


def carried(row: Row, layer: list[AttentionMap], keep: float, take: float) -> Row:
    """Carry a row back through one layer: kept along the residual, taken along the maps.

    Args:
        row: over the tokens that leave the layer.
        layer: its maps, heads averaged; several where heads attend by several operators.
        keep: how much of a token that asked stays; one that did not passes whole.
        take: how much the maps' rows bring.

    Returns:
        the row over the tokens that enter, on the finer of queries' and keys' grid.
    """
    layout = layer[0].layout
    row = row.fitted(layout.prefix, layout.grid)
    asked = torch.zeros(row.tokens.shape[1] + 1, dtype=torch.bool, device=row.tokens.device)
    for seen in layer:
        asked[seen.places()[0].flatten()] = True  # padding, -1, falls on the last
    stays = row.tokens.where(~asked[:-1], keep * row.tokens)
    finer = max(layout.grid, layout.key_grid, key=lambda grid: grid[0] * grid[1])
    kept = Row(stays, layout.grid).fitted(layout.prefix, finer)
    tokens = kept.tokens
    for seen in layer:
        brought = take * seen.layout.share * seen.carried(row.tokens[:, None])[:, 0]
        fine = Row(brought, seen.layout.key_grid).fitted(layout.prefix, finer)
        tokens = tokens + fine.tokens
    return Row(tokens, finer)


def swept(
    maps: list[AttentionMap], class_tokens: int, keep: float, take: float
) -> Float[Tensor, "b rows columns"]:
    """Carry what an answer is read from back through all layers, to the cells of the first.

    Args:
        maps: in order of depth, one head each.
        class_tokens: which the answer is read from; the mean over cells if 0.
        keep: as in `carried`.
        take: as in `carried`.
    """
    layers: list[list[AttentionMap]] = []
    for seen in maps:
        parallel = layers and sum(one.layout.share for one in layers[-1]) < 0.999
        if parallel:
            layers[-1].append(seen)
        else:
            layers.append([seen])
    row = Row(reader(maps[-1], class_tokens)[:, 0], maps[-1].layout.grid)
    for layer in reversed(layers):
        row = carried(row, layer, keep, take)
    return row.tokens[:, row.prefix :].unflatten(1, row.grid)


def rollout(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> Float[Heat, "b rows columns"] | None:
    """Return how much of each cell of the first layer reaches the answer, by attention rollout.

    Weights below 0 count by their size, and rows are made to sum to 1. Convolutions, MLPs and
    merging between stages move nothing but what they must: a merged cell counts as its parts.
    Attention inside patches (TNT) is left out. It says the same whatever class is asked about.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them.

    Returns:
        shares from 0 to 1, which sum to 1 less what comes from prefix tokens and padding; None
        where nothing attends between cells, or the tokens that are read are no cells.
    """
    backbone = backbone_of(model)
    if not ends_on_cells(backbone):
        return None

    def reduce(seen: AttentionMap) -> AttentionMap | None:
        if seen.layout.in_batch:
            return None
        weights = seen.weights.abs()
        weights = (weights / weights.sum(-1, keepdim=True)).mean(2, keepdim=True)
        return AttentionMap(weights, seen.layout)

    maps = [one for one in each_map(model, images, reduce).values() if one is not None]
    return drawn(Heat, swept(maps, backbone.class_tokens, 0.5, 0.5)) if maps else None
