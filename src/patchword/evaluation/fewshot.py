"""Few-shot: a linear map fitted to a few pictures of each class by regularised least squares.

Paper      Dosovitskiy et al. 2021, arXiv:2010.11929, section 4.1: features to targets of -1 and 1
Reference  github.com/google-research/big_vision, evaluators/fewshot_lsr.py and
           configs/common_fewshot.py: features less their mean over their deviation (plus 1e-5) on
           the few pictures, a constant feature of 100 for the bias, which the penalty of 1024 on
           all coefficients then hardly reaches; 1, 5, 10 and 25 shots, three draws of pictures
Departures in double precision, by Cholesky of the smaller Gram matrix rather than eigenvectors
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from patchword.data.draw import Stream, uniforms
from patchword.errors import ConfigError
from patchword.evaluation.answers import Answers, Tokens
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import wilson

BIAS = 100.0  # the constant feature
FLOOR = 1e-5  # added to every feature's deviation


@dataclass(frozen=True, kw_only=True)
class FewShot(Protocol):
    """Least squares on some pictures of each class, several draws of them."""

    shots: tuple[int, ...] = (1, 5, 10, 25)  # pictures of each class
    seeds: int = 3  # draws of pictures; the score is the mean over them
    penalty: float = 1024.0  # on the squared coefficients, the bias's among them
    tokens: Tokens = "pooled"

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or self.seeds < 1 or self.penalty <= 0:
            raise ConfigError(
                f"shots is {self.shots}, seeds {self.seeds}, penalty {self.penalty}; "
                "wanted: numbers of 1 or more, and a penalty above 0"
            )

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score each number of shots."""
        train = subject.features(data.learnt_from(), self.tokens)
        test = subject.features(data.test, self.tokens)
        least = int(np.bincount(train.labels.numpy(), minlength=len(data.train.classes)).min())
        short = [shots for shots in self.shots if shots > least]
        few = f"a class has {least} training pictures: of it, all of them stand for more shots"
        return Finding(
            data=data.name,
            split=data.split,
            count=len(test.labels),
            scores=tuple(self._score(train, test, shots, data) for shots in self.shots),
            notes=(few,) if short else (),
            unreadable=(*train.unreadable, *test.unreadable),
        )

    def _score(self, train: Answers, test: Answers, shots: int, data: Judged) -> Score:
        classes, hits = len(data.train.classes), list[int]()
        for seed in range(self.seeds):
            few = draw(train.labels.numpy(), shots, seed)
            fitted = LeastSquares(train.logits[few], train.labels[few], classes, self.penalty)
            hits.append(int((fitted(test.logits).argmax(dim=1) == test.labels).sum()))
        count = max(len(test.labels), 1)
        found = [hit / count for hit in hits]
        return Score(
            name="top-1",
            value=float(np.mean(found)),
            interval=over_draws(found) if self.seeds > 1 else wilson(hits[0], len(test.labels)),
            under=f"{shots} shot{'s' if shots > 1 else ''}",
        )


class LeastSquares:
    """Coefficients that map features to 1 for the own class and -1 for every other.

    Args:
        features: of the pictures to fit.
        labels: their classes.
        classes: how many there are.
        penalty: on the squared coefficients.
    """

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        classes: int,
        penalty: float,
    ) -> None:
        x = features.double()
        self.mean, self.std = x.mean(dim=0), x.std(dim=0, correction=0) + FLOOR
        x, y = self.whitened(x), 2.0 * F.one_hot(labels, classes).double() - 1.0
        wide = x.shape[1] > x.shape[0]
        gram = x @ x.T if wide else x.T @ x
        gram.diagonal().add_(penalty)
        root = torch.linalg.cholesky(gram)
        solved = torch.cholesky_solve(y if wide else x.T @ y, root)
        self.weight = x.T @ solved if wide else solved

    def whitened(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        """Return features on the scale of those that were fitted, and the constant one."""
        scaled = (features.double() - self.mean) / self.std
        return F.pad(scaled, (0, 1), value=BIAS)

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return a score per class, the highest for the answer."""
        return self.whitened(features) @ self.weight


def draw(labels: NDArray[np.int64], shots: int, seed: int) -> NDArray[np.int64]:
    """Choose some pictures of each class at random; more shots begin with the same ones."""
    drawn = uniforms(seed, Stream.SHOTS, 0, np.arange(len(labels)), 0, 1)[:, 0]
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([m[np.argsort(drawn[m], kind="stable")[:shots]] for m in members])


def over_draws(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean over draws of training pictures (Student 1908)."""
    from scipy.stats import t

    mean, half = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
    half *= t.ppf(0.975, len(values) - 1)
    return max(float(mean - half), 0.0), min(float(mean + half), 1.0)


PROTOCOL = FewShot()
