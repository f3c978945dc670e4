"""Whether an attribution depends on what the model has learnt: cascading randomisation.

Adebayo et al. 2018, arXiv:1810.03292, section 3.1: weights are made random from the head down to
the stem, part by part, and the picture of what is left is compared with the model's own. One that
stays the same is a picture of the image's edges, not of the model.
"""

from copy import deepcopy
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.heads.classify import Classifier
from patchword.inspection.attribution import Attribution, predicted
from patchword.pages.figures import Chart, Series
from patchword.pages.svg import as_svg


class Sanity(NamedTuple):
    """How alike the pictures stay as weights become random."""

    parts: tuple[str, ...]  # what has become random last: the head, then the spine from its end
    correlation: Float[Tensor, "b parts"]  # of ranks with the model's own picture, -1 to 1

    def figure(self) -> Chart:
        """Return the mean of the images."""
        y = tuple(self.correlation.mean(dim=0).tolist())
        lines = (Series(name="rank correlation", x=tuple(range(1, len(y) + 1)), y=y),)
        labels = ("parts made random", "correlation")
        return Chart(title="", x_label=labels[0], y_label=labels[1], series=lines)

    def _repr_svg_(self) -> str:
        return as_svg(self.figure(), "")


def sanity(
    model: Classifier,
    images: Float[Tensor, "b c h w"],
    attribution: Attribution,
    targets: Int[Tensor, " b"] | None = None,
    seed: int = 0,
) -> Sanity:
    """Compare an attribution with itself as the model's parts become random, one after the other.

    Correlations that fall towards 0 are good news. A part's weights are drawn anew, each tensor
    from a normal distribution of its own mean and deviation: a fresh start, as in the paper, would
    be zeros in the heads and scales of many recipes, where no gradient passes. A picture of one
    grey counts as 0.

    Args:
        model: a classifier; a copy of it is changed.
        images: as the model reads them.
        attribution: `relevance`, `gradcam` or another function of model, images and targets.
        targets: a class per image; those that the model predicts if None.
        seed: of the weights.
    """
    targets = predicted(model, images) if targets is None else targets
    own = attribution(model, images, targets).flatten(1)
    fading, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    spine = fading.backbone.spine()
    parts: dict[str, nn.Module] = {"head": fading.head}
    parts |= {f"spine.{i}": part for i, part in reversed(list(enumerate(spine)))}
    found: dict[str, Tensor] = {}
    for name, part in parts.items():
        if randomised(part, generator):
            found[name] = rank_correlation(own, attribution(fading, images, targets).flatten(1))
    return Sanity(tuple(found), torch.stack(list(found.values()), dim=1))


@torch.no_grad()
def randomised(part: nn.Module, generator: torch.Generator) -> bool:
    """Draw a part's parameters anew, and return whether it has any."""
    parameters = list(part.parameters())
    for parameter in parameters:
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        std = parameter.std(correction=0)
        parameter.copy_(parameter.mean() + std * noise)
    return bool(parameters)


def rank_correlation(
    first: Float[Tensor, "b n"], second: Float[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """Return Spearman's correlation of each row with the other's; 0 where a row is all alike."""
    one, other = (ranks(x) - (x.shape[1] + 1) / 2 for x in (first, second))
    spread = (one.square().sum(1) * other.square().sum(1)).sqrt()
    return torch.where(spread > 0, (one * other).sum(1) / spread.where(spread > 0, 1), 0)


def ranks(x: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Return each number's rank in its row, from 1; equal ones share their mean rank."""
    x = x.contiguous()
    ordered = x.sort(dim=1).values
    below = torch.searchsorted(ordered, x)
    upto = torch.searchsorted(ordered, x, right=True)  # those below and those equal
    return ((below + upto + 1) / 2).to(x.dtype)
