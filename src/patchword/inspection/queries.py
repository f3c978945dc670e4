"""Where a detector's queries look: what each of them reads of the picture, in the last layer."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.heads.deformable_attention import DeformableCross
from patchword.heads.deformable_detr import DeformableDETRHead
from patchword.heads.detector import Detector
from patchword.heads.detr import DETRHead
from patchword.heads.queries import PlacedCross
from patchword.inspection.attention import settled
from patchword.inspection.drawn import Heat, drawn

CELLS = 48  # along the longer side of a picture, into which sampled points are gathered


class Heard(NamedTuple):
    """What a module was given last, and what it answered."""

    given: tuple[Any, ...]
    found: Tensor


@torch.no_grad()
def looks(
    model: Detector, images: Float[Tensor, "b c h w"], sizes: Int[Tensor, "_ 2"] | None = None
) -> Float[Heat, "b q rows columns"] | None:
    """Return how much each query reads of each cell in the last layer; heads are averaged.

    DETR's cross-attention lies on the cells of its map; the points that Deformable DETR samples are
    gathered, by their weights, into cells of a grid over the batch. None comes back for heads whose
    queries read regions alone.

    Args:
        model: runs in evaluation mode.
        images: normalised, of sides that are multiples of what the network wants.
        sizes: rows and columns of each image without its padding.
    """
    with settled(model):
        if isinstance(model.head, DETRHead):
            return drawn(Heat, _attended(model, model.head, images, sizes))
        if isinstance(model.head, DeformableDETRHead):
            points, weights = sampled(model, model.head, images, sizes)
            shares = weights.flatten(2) / weights.shape[2]
            return drawn(Heat, gathered(points.flatten(2, 4), shares, images.shape[2:]))
    return None


@contextmanager
def listening(parts: Mapping[str, nn.Module]) -> Generator[dict[str, Heard]]:
    """Keep, by name, what modules are given and answer inside the block; the last time counts."""
    heard: dict[str, Heard] = {}

    def hook(name: str, part: nn.Module) -> Any:
        def hear(module: nn.Module, given: tuple[Any, ...], found: Tensor) -> None:
            heard[name] = Heard(given, found)

        return part.register_forward_hook(hear)

    with ExitStack() as stack:
        for name, part in parts.items():
            stack.callback(hook(name, part).remove)
        yield heard


def _attended(
    model: Detector, head: DETRHead, images: Tensor, sizes: Tensor | None
) -> Float[Tensor, "b q rows columns"]:
    read = next(part for part in head.decoder[-1].modules() if isinstance(part, PlacedCross))
    with listening({"map": head.project, "attend": read.attend}) as heard:
        model(images, sizes)
    weights = read.attend.weights(*heard["attend"].given).mean(dim=1)
    return weights.unflatten(2, tuple(heard["map"].found.shape[2:]))


def sampled(
    model: Detector, head: DeformableDETRHead, images: Tensor, sizes: Tensor | None
) -> tuple[Float[Tensor, "b q heads levels k 2"], Float[Tensor, "b q heads levels k"]]:
    """Return the points that queries of the last layer read, in sides of the maps, and weights."""
    read = next(part for part in head.decoder[-1].modules() if isinstance(part, DeformableCross))
    parts = {"read": read, "offsets": read.offsets, "weights": read.weights}
    with listening(parts) as heard:
        model(images, sizes)
    _, _, places, _, scales = heard["read"].given
    offsets = heard["offsets"].found.unflatten(-1, (*read.shape, 2))
    weights = heard["weights"].found.unflatten(-1, (read.shape[0], -1)).softmax(-1)
    places = places[:, :, None, :, None]
    if places.shape[-1] == 2:
        sides = places.new_tensor([grid[::-1] for grid in scales.grids])
        points = places + offsets / sides[:, None]
    else:
        points = places[..., :2] + offsets / read.shape[2] * places[..., 2:] * 0.5
    return points, weights.unflatten(-1, read.shape[1:])


def gathered(
    points: Float[Tensor, "b q k 2"], weights: Float[Tensor, "b q k"], size: torch.Size
) -> Float[Tensor, "b q rows columns"]:
    """Sum the weights of points up in the cells of a grid, of which the longer side has `CELLS`.

    Args:
        points: x and y, from 0 to 1 across the picture; those beyond it are left out.
        weights: of the points.
        size: rows and columns of the picture, in pixels.
    """
    rows, columns = (max(1, round(CELLS * side / max(size))) for side in size)
    inside = ((points >= 0) & (points < 1)).all(dim=-1)
    x, y = ((points[..., i] * n).long().clamp(0, n - 1) for i, n in enumerate((columns, rows)))
    found = weights.new_zeros(*weights.shape[:2], rows * columns)
    return found.scatter_add(2, y * columns + x, weights * inside).unflatten(2, (rows, columns))
