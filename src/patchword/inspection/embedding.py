"""What a model finds alike: nearest neighbours, and maps of its embedding in two dimensions."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.inspection.attention import backbone_of, settled
from patchword.inspection.tokens import principal_coordinates


@torch.no_grad()
def embedded(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    """Return what classifiers read of each image: the backbone's pooled features."""
    backbone = backbone_of(model)
    with settled(backbone):
        return backbone(images).pooled.float()


class Neighbours(NamedTuple):
    """The most similar of a set, the nearest first."""

    places: Int[Tensor, "q k"]
    cosine: Float[Tensor, "q k"]  # -1 to 1


def neighbours(
    queries: Float[Tensor, "q d"], found_in: Float[Tensor, "n d"], count: int = 5
) -> Neighbours:
    """Return the nearest vectors of a set to each query, by the cosine between them.

    Args:
        queries: as `embedded` makes them.
        found_in: where to look; a query that is among them finds itself first.
        count: how many, at most all.
    """
    cosines = F.normalize(queries, dim=1) @ F.normalize(found_in, dim=1).T
    nearest = cosines.topk(min(count, len(found_in)), dim=1)
    return Neighbours(nearest.indices, nearest.values)


def principal_map(points: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """Return points on the plane in which they vary most, in their own units, about their mean."""
    return principal_coordinates(points, 2)


def tsne_map(
    points: Float[Tensor, "n d"], perplexity: float = 30.0, seed: int = 0
) -> Float[Tensor, "n 2"]:
    """Return points on a plane on which neighbours stay neighbours (van der Maaten & Hinton 2008).

    Distances between clusters, their sizes and the axes' units mean nothing. It is scikit-learn's
    t-SNE from a principal start, the same for the same points and seed.

    Args:
        points: as `embedded` makes them.
        perplexity: about how many neighbours count; less than there are points.
        seed: of its gradient descent.

    Raises:
        ConfigError: there are not more points than the perplexity.
    """
    if len(points) <= perplexity:
        raise ConfigError(
            f"a perplexity of {perplexity:g} needs more than {len(points)} points: lower it, or "
            "give more images"
        )
    from sklearn.manifold import TSNE

    found = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return torch.from_numpy(found.fit_transform(points.cpu().numpy())).to(points)
