"""Deformable attention: a query reads a few points about a place, on maps of several resolutions.

Paper      Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection",
           ICLR 2021, arXiv:2010.04159, sections 4.1 and 4.2
Reference  github.com/fundamentalvision/Deformable-DETR, models/ops; transformers'
           DeformableDetrMultiscaleDeformableAttention
Departures none; its compiled operator is written out in sampling.py
"""

from math import pi, prod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.heads.queries import PlacedSelf, mlp
from patchword.heads.sampling import gathered, interpolated
from patchword.layers import Grid
from patchword.layers.sequence import PostNorm

Shape = tuple[int, int, int]
"""Heads, the maps that each reads, and its points on each."""


class Scales(NamedTuple):
    """Where the tokens of several maps lie, one map after the other."""

    grids: tuple[Grid, ...]
    inside: Bool[Tensor, "b m"] | None  # the tokens that are in the images; all if None
    shares: Float[Tensor, "b levels 2"]  # of each map's columns and rows that are in the image


class DeformableAttention(nn.Module):
    """Each head of a query reads points about its place, by weights that the query says as well.

    Args:
        dim: channels of a token.
        shape: heads, maps and points.
    """

    def __init__(self, dim: int, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.offsets = nn.Linear(dim, prod(self.shape) * 2)
        self.weights = nn.Linear(dim, prod(self.shape))
        self.value, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Let each head look in a direction of its own, at all points alike."""
        heads, levels, points = self.shape
        angles = torch.arange(heads) * (2 * pi / heads)
        ways = torch.stack([angles.cos(), angles.sin()], dim=-1)
        ways = ways / ways.abs().amax(dim=-1, keepdim=True)
        far = torch.arange(1, points + 1)[:, None]
        ring = (ways[:, None, None] * far).expand(heads, levels, points, 2)
        self.offsets.bias.copy_(ring.flatten())
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        for linear in (self.value, self.proj):
            nn.init.xavier_uniform_(linear.weight)
        for linear in (self.weights, self.value, self.proj):
            nn.init.zeros_(linear.bias)

    def read(
        self,
        asking: Float[Tensor, "b n d"],
        places: Float[Tensor, "b n levels k"],
        memory: Float[Tensor, "b m d"],
        scales: Scales,
    ) -> Float[Tensor, "b n d"]:
        """Read a memory of several maps.

        Args:
            asking: the queries.
            places: x and y on each map, in sides of it; and width and height, by which offsets are
                measured then, else by cells.
            memory: the maps' tokens.
            scales: of the memory.
        """
        values = self.value(memory)
        if scales.inside is not None:
            values = values.masked_fill(~scales.inside[..., None], 0)
        values = values.unflatten(-1, (self.shape[0], -1))
        offsets = self.offsets(asking).unflatten(-1, (*self.shape, 2))
        weights = self.weights(asking).unflatten(-1, (self.shape[0], -1)).softmax(-1)
        places = places[:, :, None, :, None]
        if places.shape[-1] == 2:
            sides = places.new_tensor([grid[::-1] for grid in scales.grids])
            points = places + offsets / sides[:, None]
        else:
            points = places[..., :2] + offsets / self.shape[2] * places[..., 2:] * 0.5
        weights = weights.unflatten(-1, self.shape[1:])
        form = gathered if points.device.type == "cpu" and not exporting() else interpolated
        return self.proj(form(values.to(points.dtype), scales.grids, points, weights))


class DeformableSelf(DeformableAttention):
    """Tokens read the maps that they are of."""

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        place: Float[Tensor, "#b m d"],
        places: Float[Tensor, "b m levels 2"],
        scales: Scales,
    ) -> Float[Tensor, "b m d"]:
        """Mix tokens."""
        return self.read(x + place, places, x, scales)


class DeformableCross(DeformableAttention):
    """Queries read maps."""

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        place: Float[Tensor, "#b q d"],
        places: Float[Tensor, "b q levels k"],
        memory: Float[Tensor, "b m d"],
        scales: Scales,
    ) -> Float[Tensor, "b q d"]:
        """Mix memory into queries."""
        return self.read(x + place, places, memory, scales)


def exporting() -> bool:
    """Tell whether a graph is being made for elsewhere, where bags of rows may be unknown."""
    return torch.compiler.is_exporting()


class EncoderLayer(nn.Module):
    """Cells read points about them, on all maps."""

    def __init__(self, dim: int, shape: Shape, hidden: int, drop: float) -> None:
        super().__init__()
        self.mix = PostNorm(nn.LayerNorm(dim), DeformableSelf(dim, shape), drop)
        self.mlp = PostNorm(nn.LayerNorm(dim), mlp(dim, hidden, drop), drop)

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        place: Float[Tensor, "#b m d"],
        places: Float[Tensor, "b m levels 2"],
        scales: Scales,
    ) -> Float[Tensor, "b m d"]:
        """Return the cells, transformed."""
        return self.mlp(self.mix(x, place, places, scales))


class DecoderLayer(nn.Module):
    """Queries read each other, then points of the maps."""

    def __init__(self, dim: int, shape: Shape, hidden: int, drop: float) -> None:
        super().__init__()
        self.mix = PostNorm(nn.LayerNorm(dim), PlacedSelf(dim, shape[0], drop), drop)
        self.read = PostNorm(nn.LayerNorm(dim), DeformableCross(dim, shape), drop)
        self.mlp = PostNorm(nn.LayerNorm(dim), mlp(dim, hidden, drop), drop)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        place: Float[Tensor, "#b q d"],
        places: Float[Tensor, "b q levels k"],
        memory: Float[Tensor, "b m d"],
        scales: Scales,
    ) -> Float[Tensor, "b q d"]:
        """Return the queries, transformed."""
        return self.mlp(self.read(self.mix(x, place), place, places, memory, scales))


def start(part: nn.Module | None) -> None:
    """Start matrices of a transformer as Xavier does, and deformable attention by its own rule."""
    if part is None:
        return
    for parameter in part.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    for module in part.modules():
        if isinstance(module, (DeformableSelf, DeformableCross)):
            module.start()


def spots(scales: Scales) -> Float[Tensor, "b m 2"]:
    """Return x and y of every cell's centre, in sides of the image."""
    found: list[Tensor] = []
    for (rows, columns), shares in zip(scales.grids, scales.shares.unbind(1), strict=True):
        y, x = (torch.arange(n, dtype=shares.dtype, device=shares.device) for n in (rows, columns))
        places = torch.stack(torch.meshgrid(x + 0.5, y + 0.5, indexing="xy"), dim=-1)
        found.append(places.flatten(0, 1) / (shares * shares.new_tensor([columns, rows]))[:, None])
    return torch.cat(found, dim=1)
