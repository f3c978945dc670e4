"""Full fine-tuning: the whole model learns each data set by one recipe, and is scored once.

Paper      Zhai et al. 2019, "A large-scale study of representation learning with the visual task
           adaptation benchmark" (VTAB), arXiv:1910.04867, section 2.2: 1,000 training pictures of
           each set or all of them, one way of training for all sets, the mean over sets
Reference  github.com/google-research/task_adaptation, for sizes; the recipe is BiT's rule
           (recipes/bit_hyperrule.py), which was made for these sets and has no setting to choose
Departures the pictures are drawn at random, of each class by its share, where VTAB-1k is the first
           1,000 of a shuffled set; images keep the size of the model
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from patchword.data import Subset
from patchword.data.draw import Stream, uniforms
from patchword.errors import ConfigError, DataError
from patchword.evaluation.fewshot import over_draws
from patchword.evaluation.protocol import Finding, Judged, Protocol, Subject, Tuning
from patchword.evaluation.topk import topk


@dataclass(frozen=True, kw_only=True)
class FineTuning(Protocol):
    """Top-1 and cross-entropy after all weights have learnt some or all training pictures."""

    images: int | None = 1000  # training pictures; null: all
    recipe: str = "bit_hyperrule"
    steps: int | None = None  # in place of the recipe's; so with what follows
    batch_size: int | None = None
    lr: float | None = None
    seeds: int = 1  # draws of pictures and fresh heads; the score is the mean over them

    def __post_init__(self) -> None:
        said = [n for n in (self.images, self.steps, self.batch_size) if n is not None]
        if min([self.seeds, *said]) < 1:
            raise ConfigError(
                "images, steps, batch_size and seeds are at least 1; images=null: all"
            )

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Teach, and score what was learnt, once for each seed."""
        assert subject.tune is not None
        source = data.learnt_from()
        if source.classes != data.test.classes:
            raise DataError(f"{data.name} has other classes to learn than to answer")
        found, words = [], ""
        for seed in range(self.seeds):
            subject.say(f"{data.name}: fine-tuning {seed + 1} of {self.seeds}")
            few = Subset(source, drawn(source.labels, self.images, seed))
            model, words = subject.tune(subject.model, few, self.tuning(seed))
            assert model.card is not None
            answers = Subject(model, model.card).answers(data.test)
            found.append(topk(answers.logits, answers.labels, answers.targets))
        shares = [each.top1 for each in found]
        interval = over_draws(shares) if self.seeds > 1 else found[0].interval
        losses = [each.loss for each in found]
        top1, _, loss = found[0].scores
        return Finding(
            data=data.name,
            split=data.split,
            count=found[0].count,
            scores=(
                replace(top1, value=float(np.mean(shares)), interval=interval),
                replace(loss, value=float(np.mean(losses))),
            ),
            notes=(words,),
        )

    def tuning(self, seed: int) -> Tuning:
        """Return what is asked of who teaches."""
        return Tuning(
            recipe=self.recipe,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            seed=seed,
        )


def drawn(
    labels: Int64[np.ndarray, " n"], images: int | None, seed: int
) -> Int64[np.ndarray, " few"]:
    """Choose some pictures at random, each class by its share; all of them where there are fewer.

    A class of a share too small for one picture may have none.
    """
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    drawn = uniforms(seed, Stream.SHOTS, 0, np.arange(len(labels)), 0, 1)[:, 0]
    place = np.empty(len(labels))  # within its class, from 0 to 1
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        place[own[np.argsort(drawn[own], kind="stable")]] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.lexsort((drawn, place))[:images])


PROTOCOL = FineTuning()
