"""How spread attention is: the entropy of its rows."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.inspection.attention import each_map
from patchword.inspection.drawn import Drawn, Heads
from patchword.inspection.watch import AttentionMap
from patchword.pages.dots import Dots


class Entropy(NamedTuple):
    """The spread of one operator's rows."""

    nats: Float[Tensor, " heads"]  # 0 where each query looks at one key, up to `most`
    most: float  # nats of a row whose keys all weigh the same: the logarithm of their number


class Shares(Heads):
    """The entropy of each head, in percent of the most that it can be."""

    unit = "% of the most"


class Entropies(Drawn, dict[str, Entropy]):
    """The spread of each operator's rows, by its name."""

    def shares(self) -> Shares:
        """Return it in percent of the most: 100 where every key weighs the same."""
        return Shares({name: 100 * each.nats / each.most for name, each in self.items()})

    def figure(self) -> Dots:
        """Return a dot for each head, layer by layer."""
        return self.shares().figure()


def row_entropy(seen: AttentionMap) -> Float[Tensor, "b heads"]:
    """Return the mean entropy of a map's rows in nats, from 0 to the logarithm of the keys.

    Every query that is a token counts, prefix tokens too, and every key, padding too, as a softmax
    weighs them all. Weights below 0 count by their size, and rows are made to sum to 1.
    """
    weights = seen.weights.abs()
    shares = weights / weights.sum(-1, keepdim=True)
    asks = (seen.places()[0] >= 0)[:, None]
    return torch.special.entr(shares).sum(-1).where(asks, 0).sum((1, 3)) / asks.sum()


def attention_entropy(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Entropies:
    """Return the mean entropy of each head's attention, averaged over images.

    Heads near 0 have collapsed onto one key, where training becomes unstable (Zhai et al. 2023,
    arXiv:2303.06296); heads near `most` attend to everything alike.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them.

    Returns:
        by operator's name, in order of depth; empty where nothing attends between cells.
    """

    def reduce(seen: AttentionMap) -> Entropy:
        keys = torch.tensor(float(seen.weights.shape[-1]))
        return Entropy(row_entropy(seen).mean(0), keys.log().item())

    return Entropies(each_map(model, images, reduce))
