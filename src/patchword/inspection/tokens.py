"""What a layer's tokens hold, as pictures: their norms, their principal components, artifacts."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.features import Tap
from patchword.inspection.attention import backbone_of, settled
from patchword.inspection.drawn import Colours, Heat, drawn
from patchword.pages.plates import as_png


@torch.no_grad()
def tapped(model: nn.Module, images: Float[Tensor, "b c h w"], level: str) -> Tap:
    """Return what a network holds at a level, which has a grid.

    Args:
        model: a classifier or a backbone; it runs in evaluation mode.
        images: as the model reads them.
        level: by name; `backbone.levels` lists them.

    Raises:
        ConfigError: there is no such level, or no grid is left there.
    """
    backbone = backbone_of(model)
    if backbone.level(level).stride is None:
        raise ConfigError(f"{level!r} has no grid to draw: its tokens lie on a line")
    with settled(backbone):
        return backbone(images, taps=(level,)).taps[0]


TIMES = 3.0  # median norms that make a token an artifact: half of ten, by ratio


class Norms(NamedTuple):
    """Lengths of token vectors, in the units of the layer."""

    cells: Float[Tensor, "b rows columns"]
    prefix: Float[Tensor, "b p"]  # class, distillation and register tokens

    def _repr_png_(self) -> bytes:
        return as_png(drawn(Heat, self.cells).figure())


def token_norms(model: nn.Module, images: Float[Tensor, "b c h w"], level: str = "final") -> Norms:
    """Return the Euclidean norm of each token of a level, or of each cell of a map."""
    return norms(tapped(model, images, level))


def norms(tap: Tap) -> Norms:
    """Return the norms of the tokens of a level that was tapped."""
    return Norms(tap.map.float().norm(dim=1), tap.prefix.float().norm(dim=2))


def principal_picture(
    model: nn.Module, images: Float[Tensor, "b c h w"], level: str = "final", count: int = 3
) -> Float[Colours, "b count rows columns"]:
    """Return the first principal components of a level's cells, from 0 to 1, as colours.

    They are of all images together, so that the same colour means the same in each (Oquab et al.
    2023, figure 1; Zheng et al. 2021, SETR, draws single channels); each component's smallest
    coordinate is 0 and its largest 1. Of a component and its opposite the one is taken whose
    largest entry is above 0. Where there are fewer components than asked for, the rest is 0.5.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them.
        level: by name.
        count: of components, in order of variance.
    """
    return drawn(Colours, principal_colours(tapped(model, images, level).map.float(), count))


def principal_colours(
    cells: Float[Tensor, "b c rows columns"], count: int = 3
) -> Float[Tensor, "b count rows columns"]:
    """Return the first principal components of cells as `principal_picture` does."""
    flat = cells.movedim(1, -1).flatten(0, 2)  # cells of all images, channels
    coordinates = principal_coordinates(flat, count)
    low, high = coordinates.amin(0), coordinates.amax(0)
    spread = high - low
    scaled = torch.where(spread > 0, (coordinates - low) / spread.where(spread > 0, 1), 0.5)
    return scaled.view(len(cells), *cells.shape[2:], count).movedim(-1, 1)


def principal_coordinates(points: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n count"]:
    """Return the coordinates of points along their first principal components, about their mean.

    In order of variance; of a component and its opposite the one whose largest entry is above 0.
    Components beyond the points' dimensions are 0.
    """
    centred = (points - points.mean(0)).double()
    vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    found = centred @ (vectors * largest.sign())
    return nn.functional.pad(found, (0, count - found.shape[1])).to(points.dtype)


class Artifacts(NamedTuple):
    """Cells whose tokens are far longer than the others."""

    cells: Bool[Tensor, "b rows columns"]
    share: float  # of all cells, from 0 to 1
    cutoff: float  # the norm above which a token counts

    def _repr_png_(self) -> bytes:
        return as_png(drawn(Heat, self.cells.float()).figure())


def artifacts(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    level: str = "final",
    *,
    times: float = TIMES,
) -> Artifacts:
    """Find artifact tokens: patches that hold something about the whole image, not their place.

    They are told by norms an order of magnitude above the others' (Darcet et al. 2023,
    arXiv:2309.16588, section 2.1, who read a cutoff off the histogram; a few per cent in large
    models trained long without registers). Look at levels before the last norm: a LayerNorm makes
    all tokens nearly as long as each other.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them.
        level: by name.
        times: so many median norms are the cutoff.
    """
    return longest(token_norms(model, images, level).cells, times)


def longest(norms: Float[Tensor, "b rows columns"], times: float = TIMES) -> Artifacts:
    """Find the cells of a level that are more than so many median norms long."""
    cutoff = times * norms.median().item()
    cells = norms > cutoff
    return Artifacts(cells, cells.float().mean().item(), cutoff)
