"""How fast multi-scale deformable attention is by itself, beside transformers' form of it.

Part of `python -m benchmarks.dense`, whose rows these join: the encoder's queries, every cell of
four maps, and the decoder's 300, at the two sizes of images below. A query reads four points on
each map about its place, as far away as a fresh network looks or twice that; values, points and
weights all learn in a step.
"""

import torch
from torch import nn
from transformers.models.deformable_detr import modeling_deformable_detr as theirs

from benchmarks.duel import raced
from patchword.heads.deformable_attention import Scales, spots
from patchword.heads.sampling import gathered

HEADS, CHANNELS, POINTS, STRIDES = 8, 256, 4, (8, 16, 32, 64)
QUERIES = 300
FAR = 2.5  # cells, one standard deviation
SHAPES = {  # place in the network -> size of the images
    f"deformable_attention_{part}_{rows}x{columns}": {"part": part, "size": (rows, columns)}
    for part in ("encoder", "decoder")
    for rows, columns in ((256, 256), (480, 640))
}


class Sampling(nn.Module):
    """One reading of maps, of which all that it reads by is learnt.

    Args:
        grids: rows and columns of the maps.
        places: x and y of the queries, in sides of the image.
        count: of images.
    """

    def __init__(self, grids, places, count):
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.grids, self.shape = grids, (HEADS, len(grids), POINTS)
        cells, queries = sum(rows * columns for rows, columns in grids), len(places)
        sides = torch.tensor([grid[::-1] for grid in grids])[:, None]
        offsets = FAR * torch.randn(count, queries, *self.shape, 2, generator=draw) / sides
        points = places[:, None, None, None] + offsets
        weights = torch.randn(count, queries, HEADS, len(grids) * POINTS, generator=draw)
        values = torch.randn(count, cells, CHANNELS, generator=draw)
        self.values = nn.Parameter(values)
        self.points = nn.Parameter(points.flatten(2))
        self.weights = nn.Parameter(weights.softmax(-1).flatten(2))

    def forward(self, images):
        """Read; what images there are is in the values already."""
        values = self.values.unflatten(-1, (HEADS, -1))
        points = self.points.unflatten(-1, (*self.shape, 2))
        return self.read(values, points, self.weights.unflatten(-1, self.shape))

    def read(self, values, points, weights):
        """Read by our form."""
        return gathered(values, self.grids, points, weights)


class Theirs(Sampling):
    """The same, by transformers' operator."""

    def read(self, values, points, weights):
        shapes = torch.tensor(self.grids)
        operator = theirs.MultiScaleDeformableAttention()
        return operator(values, shapes, list(self.grids), None, points, weights, 64)


def race(name, change, given):
    """Yield the one row of a place in the network."""
    rows, columns = change["size"]
    grids = tuple((-(-rows // stride), -(-columns // stride)) for stride in STRIDES)
    if change["part"] == "encoder":
        places = spots(Scales(grids, None, torch.ones(1, len(grids), 2)))[0]
    else:
        places = torch.rand(QUERIES, 2, generator=torch.Generator().manual_seed(6))
    ours, other = (kind(grids, places, given.batch) for kind in (Sampling, Theirs))
    facts = {"model": name, "changed": {}, "peer": "transformers"}
    yield facts | raced(ours, {"": other}, torch.zeros(given.batch, 1, 1, 1), given)
