"""Corruptions: accuracy on pictures that were spoilt in fifteen ways, in five severities.

Paper      Hendrycks and Dietterich 2019, arXiv:1903.12261
Reference  github.com/hendrycks/robustness; `patchword.data.corrupt` says what differs
Departures accuracies as they are, and their mean: not relative to AlexNet's errors on ImageNet
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from patchword.data.source import Subset
from patchword.errors import ConfigError, suggest
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import share


@dataclass(frozen=True, kw_only=True)
class Corruptions(Protocol):
    """Top-1 by kind and severity; each costs a pass over the pictures."""

    kinds: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = SEVERITIES
    pictures: int | None = None  # evenly spaced ones, where all would take too long
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in CORRUPTIONS:
                raise ConfigError(f"no corruption is called {kind!r}; {suggest(kind, CORRUPTIONS)}")
        if not self.kinds or not self.severities or not {*self.severities} <= {*SEVERITIES}:
            raise ConfigError(f"severities is {self.severities}; wanted: from 1 to 5")
        if self.pictures is not None and self.pictures < 1:
            raise ConfigError(f"pictures is {self.pictures}; wanted: 1 or more")

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers on the clean pictures, and on each way of spoiling them."""
        source = data.test
        if self.pictures is not None and self.pictures < len(source):
            source = Subset(source, np.linspace(0, len(source) - 1, self.pictures).astype(int))
        framed = subject.framed(source)
        clean = subject.disturbed(framed, lambda image, _: image)
        hits = int((clean.logits.argmax(dim=1) == clean.labels).sum())
        count = len(clean.labels)
        found = [share(hits, count, under="clean")]
        for kind in self.kinds:
            under, shares = kind.replace("_", " "), list[float]()
            for severity in self.severities:
                subject.say(f"{data.name}: {under}, severity {severity}")
                spoil = partial(_spoil, kind=kind, severity=severity, seed=self.seed)
                answers = subject.disturbed(framed, spoil)
                hits = int((answers.logits.argmax(dim=1) == answers.labels).sum())
                found.append(share(hits, count, name=f"severity {severity}", under=under))
                shares.append(found[-1].value)
            found.append(Score(name="mean", value=sum(shares) / len(shares), under=under))
        means = [score.value for score in found if score.name == "mean"]
        found.append(Score(name="mean", value=sum(means) / len(means), under="all"))
        return Finding(
            data=data.name,
            split=data.split,
            count=count,
            scores=tuple(found),
            unreadable=clean.unreadable,
        )


def _spoil(
    image: UInt8[Tensor, "c h w"], index: int, *, kind: str, severity: int, seed: int
) -> UInt8[Tensor, "c h w"]:
    return corrupt(image, kind, severity, seed=seed, index=index)


PROTOCOL = Corruptions()
