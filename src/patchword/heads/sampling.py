"""Weighted sums of maps at points between their cells: what multi-scale deformable attention reads.

Paper      Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection",
           ICLR 2021, arXiv:2010.04159, equation 3
Reference  github.com/fundamentalvision/Deformable-DETR, models/ops; transformers'
           MultiScaleDeformableAttention
Departures none; the compiled operator is written out twice. `gathered` is the faster on a CPU,
           `interpolated` elsewhere, and goes into graphs that are made for other programs
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int32
from torch import Tensor

from patchword.layers import Grid

SLICE = 1024  # bags whose cells are laid out at once, to be multiplied with


def interpolated(
    values: Float[Tensor, "b m heads c"],
    grids: Sequence[Grid],
    points: Float[Tensor, "b n heads levels k 2"],
    weights: Float[Tensor, "b n heads levels k"],
) -> Float[Tensor, "b n d"]:
    """Return weighted sums of maps at points, map by map by `grid_sample`.

    Args:
        values: of the maps' cells, one map after the other.
        grids: of the maps.
        points: x and y, from 0 to 1 across a map; beyond it all is 0.
        weights: of the points.
    """
    b, n, heads = points.shape[:3]
    where = (2 * points - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.to(values.dtype).transpose(1, 2).flatten(0, 1)[:, None]
    total = values.new_zeros(b * heads, values.shape[-1], n)
    for level, part in enumerate(values.split([prod(grid) for grid in grids], dim=1)):
        cells = part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, grids[level])
        seen = F.grid_sample(cells, where[:, :, level], align_corners=False)
        total = total + (seen * shares[:, :, :, level]).sum(-1)
    return total.unflatten(0, (b, heads)).permute(0, 3, 1, 2).flatten(2)


def gathered(
    values: Float[Tensor, "b m heads c"],
    grids: Sequence[Grid],
    points: Float[Tensor, "b n heads levels k 2"],
    weights: Float[Tensor, "b n heads levels k"],
) -> Float[Tensor, "b n d"]:
    """Return what `interpolated` does, as one sum over rows of a table: the cells about the points.

    A head of a query is a bag of four cells per point, which are read where they lie and summed
    without being stored in between.
    """
    return Gathered.apply(values, points, weights.to(values.dtype), tuple(grids))[0]


class Gathered(torch.autograd.Function):
    """Sums over bags, with gradients that are sums over bags too."""

    @staticmethod
    def forward(
        values: Tensor, points: Tensor, weights: Tensor, grids: tuple[Grid, ...]
    ) -> tuple[Tensor, ...]:
        """Return the sums, and what the gradients need: the table, its rows and their shares."""
        table = bordered(values, grids)
        rows, shares = corners(points, weights, grids)
        read = bags_of(rows.flatten(1), table.flatten(0, 2), shares.flatten(1))
        return read.view(*points.shape[:2], -1), table, rows, shares

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradients need."""
        _, points, weights, ctx.grids = inputs
        ctx.save_for_backward(points, weights, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of values, points and weights.

        A point's weight counts by what was read there, its place by how that changes along x and y,
        between cells whose products with the slope of the sum are known.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("deformable attention has no second gradients on a CPU")
        points, weights, table, rows, shares = ctx.saved_tensors
        bags = slopes[0].reshape(len(rows), -1)
        with torch.autocast("cpu", enabled=False):
            maps = unbordered(spread(bags, rows, shares, table.shape), ctx.grids)
            products = multiplied(bags, rows, table.flatten(0, 2))
        (x, x_inside), (y, y_inside) = ((spot[1], spot[2]) for spot in spots(points, ctx.grids))
        near, right, below, far = products.unbind(1)
        above, under = right - near, far - below
        first, second = near.addcmul(above, x), below.addcmul(under, x)
        down = second - first
        weight = weights.reshape(down.shape)
        along = above.addcmul(under - above, y).mul_(weight).mul_(x_inside)
        read = first.addcmul(down, y).view(weights.shape)
        moved = torch.stack([along, down.mul_(weight).mul_(y_inside)], dim=-1)
        return maps, moved.view(points.shape), read, None


def bags_of(rows: Tensor, table: Tensor, shares: Tensor, starts: Tensor | None = None) -> Tensor:
    """Return sums over bags of a table's rows, each row by its share."""
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=shares)


def bordered(
    values: Float[Tensor, "b m heads c"], grids: Sequence[Grid]
) -> Float[Tensor, "b cells heads c"]:
    """Return the maps with a cell of zeros all around each."""
    maps = values.flatten(2).split([prod(grid) for grid in grids], dim=1)
    framed = [
        F.pad(part.unflatten(1, grid), (0, 0, 1, 1, 1, 1)).flatten(1, 2)
        for part, grid in zip(maps, grids, strict=True)
    ]
    return torch.cat(framed, dim=1).unflatten(-1, values.shape[2:])


def framed_sides(grids: Sequence[Grid]) -> list[Grid]:
    """Return the maps' sides with their borders."""
    return [(rows + 2, columns + 2) for rows, columns in grids]


def spots(
    points: Float[Tensor, "b n heads levels k 2"], grids: Sequence[Grid]
) -> list[tuple[Float[Tensor, "bags p"], Float[Tensor, "bags p"], Float[Tensor, "bags p"]]]:
    """Return of x and of y: the cell before each point, the way from there, cells per unit of it.

    A point farther than one cell beyond a map is moved to its border, where all is 0, and no step
    from there counts.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for axis in (0, 1):
        place = points[..., axis].flatten(3).flatten(0, 2)
        sides = place.new_tensor([grid[1 - axis] for grid in grids])
        sides = sides.repeat_interleave(points.shape[4])
        spot = torch.addcmul(place.new_tensor(-0.5), place, sides)
        counted = ((spot >= -1) & (spot < sides)) * sides
        spot = torch.minimum(spot.clamp_(min=-1), sides)
        before = torch.minimum(spot.floor(), sides - 1)
        found.append((before, spot - before, counted))
    return found


def corners(
    points: Float[Tensor, "b n heads levels k 2"],
    weights: Float[Tensor, "b n heads levels k"],
    grids: Sequence[Grid],
) -> tuple[Int32[Tensor, "bags 4 p"], Float[Tensor, "bags 4 p"]]:
    """Return the four cells about each point, as rows of the bordered maps, and their shares."""
    (left, x, _), (top, y, _) = spots(points, grids)
    b, n, heads, _, k = weights.shape
    framed = framed_sides(grids)
    sizes = torch.tensor([0, *map(prod, framed)], dtype=torch.int32)
    widths = torch.tensor([columns for _, columns in framed], dtype=torch.int32)
    begins = sizes.cumsum(0, dtype=torch.int32)[:-1] + widths + 1  # of cell 0, 0
    begins, widths = (each.repeat_interleave(k) for each in (begins, widths))
    cells = top.int().mul_(widths).add_(left.int()).add_(begins).mul_(heads)
    images = torch.arange(b, dtype=torch.int32)[:, None, None] * (int(sizes.sum()) * heads)
    first = (images + torch.arange(heads, dtype=torch.int32)).expand(b, n, heads)
    cells += first.flatten()[:, None]
    rows = torch.stack(
        [cells, cells + heads, cells + widths * heads, cells + (widths + 1) * heads], dim=1
    )
    weight = weights.reshape(cells.shape)
    lower = weight * y
    upper = weight - lower
    far, right = lower * x, upper * x
    return rows, torch.stack([upper - right, right, lower - far, far], dim=1)


def spread(
    bags: Float[Tensor, "bags c"],
    rows: Int32[Tensor, "bags 4 p"],
    shares: Float[Tensor, "bags 4 p"],
    shape: Sequence[int],
) -> list[Float[Tensor, "b cells heads c"]]:
    """Return what the points after each cell give to their four cells, a table for each of them.

    Points are sorted by the first of their cells: those of one cell are a bag.
    """
    cells, order = rows[:, 0].flatten().sort(stable=True)
    starts = torch.searchsorted(cells, torch.arange(prod(shape[:3]), dtype=torch.int32))
    asking = order // rows.shape[2]
    each = [share.flatten().index_select(0, order) for share in shares.unbind(1)]
    return [bags_of(asking, bags, share, starts).view(shape) for share in each]


def unbordered(
    given: Sequence[Float[Tensor, "b cells heads c"]], grids: Sequence[Grid]
) -> Float[Tensor, "b m heads c"]:
    """Return what the maps' cells get: as the first of four, the second, the third and the last."""
    framed = framed_sides(grids)
    sizes = [prod(sides) for sides in framed]
    found: list[Tensor] = []
    for parts, sides in zip(
        zip(*(t.split(sizes, 1) for t in given), strict=True), framed, strict=True
    ):
        near, right, below, far = (part.unflatten(1, sides) for part in parts)
        total = near[:, 1:-1, 1:-1] + right[:, 1:-1, :-2]
        found.append((total + below[:, :-2, 1:-1] + far[:, :-2, :-2]).flatten(1, 2))
    return torch.cat(found, dim=1)


def multiplied(
    bags: Float[Tensor, "bags c"], rows: Int32[Tensor, "bags 4 p"], table: Float[Tensor, "rows c"]
) -> Float[Tensor, "bags 4 p"]:
    """Return the product of each bag's slope with each of the rows that it reads."""
    found = [
        slopes[:, None] @ table.index_select(0, part.flatten()).unflatten(0, (len(part), -1)).mT
        for slopes, part in zip(bags.split(SLICE), rows.split(SLICE), strict=True)
    ]
    return torch.cat(found).view(rows.shape)
