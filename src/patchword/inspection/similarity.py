"""How alike two representations are: linear CKA between layers, and between models.

Kornblith et al. 2019, arXiv:1905.00414, section 3: centred kernel alignment of the images' Gram
matrices. It is 1 for representations that differ by a rotation and a scale, and near 0 for
unrelated ones of many images; of few images with many features the biased form is high whatever
they are, which `unbiased_hsic` (Song et al. 2012) mends.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import DataError
from patchword.inspection.attention import backbone_of, settled
from patchword.inspection.drawn import Alike, drawn

Criterion = Callable[[Float[Tensor, "a n n"], Float[Tensor, "c n n"]], Float[Tensor, "a c"]]


def hsic(first: Float[Tensor, "a n n"], second: Float[Tensor, "c n n"]) -> Float[Tensor, "a c"]:
    """Return the Hilbert-Schmidt independence criterion of every pair of Gram matrices (biased)."""
    first, second = (g - g.mean(1, keepdim=True) for g in (first, second))
    first, second = (g - g.mean(2, keepdim=True) for g in (first, second))
    return torch.einsum("anm,cnm->ac", first, second) / (first.shape[1] - 1) ** 2


def unbiased_hsic(
    first: Float[Tensor, "a n n"], second: Float[Tensor, "c n n"]
) -> Float[Tensor, "a c"]:
    """Return the unbiased estimate of every pair (Song et al. 2012, equation 5; 4 images or more).

    Its mean over minibatches estimates that of all images (Nguyen et al. 2021, arXiv:2010.15327,
    equation 3); it can be below 0.

    Raises:
        DataError: there are fewer than 4 images.
    """
    n = first.shape[1]
    if n < 4:
        raise DataError(f"{n} images are too few for the unbiased estimate: give 4 or more")
    first, second = (g - torch.diag_embed(g.diagonal(dim1=1, dim2=2)) for g in (first, second))
    rows = first.sum(2), second.sum(2)
    sums = rows[0].sum(1)[:, None] * rows[1].sum(1)
    found = torch.einsum("anm,cnm->ac", first, second) + sums / ((n - 1) * (n - 2))
    return (found - 2 / (n - 2) * rows[0] @ rows[1].T) / (n * (n - 3))


@torch.no_grad()
def grams(
    model: nn.Module, images: Float[Tensor, "b c h w"], levels: Sequence[str] | None = None
) -> Float[Tensor, "levels b b"]:
    """Return the products of the images' representations with each other at each level.

    A representation is all of a level's tokens, prefix and cells, or a map, end to end.

    Args:
        model: a classifier or a backbone; it runs in evaluation mode.
        images: as the model reads them.
        levels: by name; all of the backbone's if None.
    """
    backbone = backbone_of(model)
    names = [level.name for level in backbone.levels] if levels is None else list(levels)
    with settled(backbone):
        taps = backbone(images, taps=names).taps
    found: list[Tensor] = []
    for tap in taps:
        flat = torch.cat([tap.prefix.flatten(1), tap.map.flatten(1)], dim=1).double()
        found.append(flat @ flat.T)
    return torch.stack(found)


def cka(
    first: Float[Tensor, "a n n"],
    second: Float[Tensor, "c n n"],
    criterion: Criterion = hsic,
) -> Float[Alike, "a c"]:
    """Return the linear CKA of every pair of Gram matrices of the same n images.

    >>> cka(grams(model, images), grams(model, images))  # between layers
    >>> cka(grams(vit, images), grams(resnet, images))  # between models

    Args:
        first: one per level.
        second: one per level of the same model, or of another.
        criterion: `hsic`, with which it is from 0 to 1; or `unbiased_hsic`.
    """
    return aligned([(first, second)], criterion)


def minibatch_cka(
    first: nn.Module, second: nn.Module, batches: Iterable[Float[Tensor, "b c h w"]]
) -> Float[Alike, "levels others"]:
    """Return the linear CKA of every pair of levels of two models, over minibatches.

    The unbiased estimates of each minibatch are averaged (Nguyen et al. 2021), so any number of
    images can be compared, and what comes out does not depend on the size of the batches.

    Args:
        first: a classifier or a backbone.
        second: another, or the same, that reads the same images.
        batches: of 4 images or more.
    """

    def pairs() -> Iterable[tuple[Tensor, Tensor]]:
        for images in batches:
            mine = grams(first, images)
            yield mine, mine if second is first else grams(second, images)

    return aligned(pairs(), unbiased_hsic)


def aligned(
    pairs: Iterable[tuple[Float[Tensor, "a _ _"], Float[Tensor, "c _ _"]]], criterion: Criterion
) -> Float[Alike, "a c"]:
    """Return the summed criterion of pairs over the root of the product of their own."""
    across: Tensor | float = 0.0
    own: list[Tensor | float] = [0.0, 0.0]
    for one, other in pairs:
        across = across + criterion(one, other)
        own = [
            total + torch.cat([criterion(g, g) for g in grams_[:, None]]).flatten()
            for total, grams_ in zip(own, (one, other), strict=True)
        ]
    if isinstance(across, float):
        raise DataError("there are no images to compare layers by")
    rows, columns = (torch.as_tensor(total).clamp(min=0).sqrt() for total in own)
    return drawn(Alike, across / (rows[:, None] * columns))
