"""Scores of values: mean absolute and squared errors, and the share of variance explained."""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor

from patchword.data import Kind
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.resampled import mean, percentiles, resampled

Interval: TypeAlias = tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Regression:
    """How well values were told, in their own units; intervals are of 95 %."""

    count: int  # pictures that were scored
    r2: float  # 1 less the share of the variance that is left; the mean over the values
    interval: Interval  # of `r2`
    mae: tuple[float, ...]  # mean absolute error of each value
    mae_interval: tuple[Interval, ...]
    rmse: tuple[float, ...]  # root of the mean squared error of each value
    rmse_interval: tuple[Interval, ...]
    loss: float  # mean squared error, in deviations of the training pictures


def regression(
    answers: Float[Tensor, "n values"],
    targets: Float[Tensor, "n values"],
    std: tuple[float, ...],
) -> Regression:
    """Score values, both in their own units.

    Args:
        answers: of the model.
        targets: the truth.
        std: the deviation of each value over the training pictures.
    """
    truth = targets.double().numpy()
    error = answers.double().numpy() - truth
    once, drawn = np.ones((1, len(truth))), resampled(len(truth))
    absolute, squared = np.abs(error), error**2
    return Regression(
        count=len(truth),
        r2=float(explained(error, truth, once)[0]),
        interval=percentiles(explained(error, truth, drawn)),
        mae=tuple(average(absolute, once)[0].tolist()),
        mae_interval=tuple(map(percentiles, average(absolute, drawn).T)),
        rmse=tuple(np.sqrt(average(squared, once)[0]).tolist()),
        rmse_interval=tuple(map(percentiles, np.sqrt(average(squared, drawn)).T)),
        loss=float((squared / np.array(std) ** 2).mean()) if len(truth) else float("nan"),
    )


def average(
    values: Float[np.ndarray, "n values"], counts: Float[np.ndarray, "samples n"]
) -> Float[np.ndarray, "samples values"]:
    """Return the means of values that count so often."""
    return counts @ values / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def explained(
    error: Float[np.ndarray, "n values"],
    truth: Float[np.ndarray, "n values"],
    counts: Float[np.ndarray, "samples n"],
) -> Float[np.ndarray, " samples"]:
    """Return the mean over the values of 1 less their squared error's share of their variance.

    A value that does not vary explains nothing and is left out; nan where none varies.
    """
    left = average(error**2, counts)
    centred = truth - truth.mean(axis=0)
    variance = average(centred**2, counts) - average(centred, counts) ** 2
    varies = variance > 1e-12 * (truth**2).mean(axis=0)
    shares = np.where(varies, 1 - left / np.where(varies, variance, 1), np.nan)
    return np.array([mean(row) for row in shares])


@dataclass(frozen=True, kw_only=True)
class Errors(Protocol):
    """R2 over all values; the mean absolute and squared errors of each."""

    wants: ClassVar[tuple[Kind, ...]] = ("values",)

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers."""
        answers, scale = subject.answers(data.test), subject.card.scale
        assert answers.targets is not None and scale is not None
        found = regression(scale.restored(answers.logits), answers.targets, scale.std)
        names = subject.card.classes if len(found.mae) > 1 else None
        figures = (
            ("MAE", found.mae, found.mae_interval),
            ("RMSE", found.rmse, found.rmse_interval),
        )
        return Finding(
            data=data.name,
            split=data.split,
            count=found.count,
            scores=(
                Score(name="R2", value=found.r2, interval=found.interval, unit="number"),
                *(
                    Score(name=name, value=error, interval=interval, under=value, unit="number")
                    for name, errors, intervals in figures
                    for value, error, interval in zip(
                        names or ("",), errors, intervals, strict=True
                    )
                ),
                Score(name="loss", value=found.loss, unit="number"),
            ),
            unreadable=answers.unreadable,
        )


PROTOCOL = Errors()
