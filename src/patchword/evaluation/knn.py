"""k nearest neighbours: the labels of the most similar training pictures vote.

Paper      Caron et al. 2021, "Emerging properties in self-supervised vision transformers",
           arXiv:2104.14294, section 4.1; the weighted vote is Wu et al. 2018's, arXiv:1805.01978
Reference  github.com/facebookresearch/dino, eval_knn.py
Departures in double precision; the plain vote, each neighbour's alike, stands beside the weighted
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from patchword.errors import ConfigError, DataError
from patchword.evaluation.answers import Tokens
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import share

CHUNK = 1024  # test pictures whose similarities are held at a time


@dataclass(frozen=True, kw_only=True)
class NearestNeighbours(Protocol):
    """Cosine similarity to every training picture; the k most similar vote."""

    neighbours: tuple[int, ...] = (10, 20, 100, 200)
    temperature: float = 0.07  # a neighbour of similarity s weighs exp(s / temperature)
    tokens: Tokens = "pooled"

    def __post_init__(self) -> None:
        if not self.neighbours or min(self.neighbours) < 1 or self.temperature <= 0:
            raise ConfigError(
                f"neighbours is {self.neighbours}, temperature {self.temperature}; "
                "wanted: numbers of 1 or more, above 0"
            )

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score both votes for each number of neighbours there are enough training pictures for."""
        train = subject.features(data.learnt_from(), self.tokens)
        test = subject.features(data.test, self.tokens)
        counts = [k for k in self.neighbours if k <= len(train.labels)]
        if not counts:
            raise DataError(
                f"{data.name} has {len(train.labels)} training pictures and the fewest neighbours "
                f"asked for are {min(self.neighbours)}; say --settings neighbours=[1]"
            )
        classes, found = len(data.train.classes), list[Score]()
        nearest = neighbours(train.logits, test.logits, max(counts))
        for k in counts:
            similar, indices = (part[:, :k] for part in nearest)
            labels = train.labels[indices]
            for name, temperature in (("weighted", self.temperature), ("plain", None)):
                hits = int(
                    (vote(similar, labels, classes, temperature).argmax(1) == test.labels).sum()
                )
                found.append(share(hits, len(test.labels), name=name, under=f"k = {k}"))
        left_out = [k for k in self.neighbours if k not in counts]
        few = f"only {len(train.labels)} training pictures: no k of {', '.join(map(str, left_out))}"
        return Finding(
            data=data.name,
            split=data.split,
            count=len(test.labels),
            scores=tuple(found),
            notes=(few,) if left_out else (),
            unreadable=(*train.unreadable, *test.unreadable),
        )


def neighbours(
    train: Float[Tensor, "m d"], test: Float[Tensor, "n d"], k: int
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """Return the k training rows of the highest cosine similarity, and that, the highest first."""
    known = F.normalize(train.double(), dim=1).T
    chunks = [(F.normalize(part.double(), dim=1) @ known).topk(k) for part in test.split(CHUNK)]
    return torch.cat([c.values for c in chunks]), torch.cat([c.indices for c in chunks])


def vote(
    similar: Float[Tensor, "n k"],
    labels: Int[Tensor, "n k"],
    classes: int,
    temperature: float | None = None,
) -> Float[Tensor, "n classes"]:
    """Return each class's share of the votes, weighted where a temperature is given."""
    logits = torch.zeros_like(similar) if temperature is None else similar / temperature
    weights = logits.softmax(dim=1)
    return similar.new_zeros(len(similar), classes).scatter_add_(1, labels, weights)


PROTOCOL = NearestNeighbours()
