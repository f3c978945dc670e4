"""What every protocol is: a frozen value that scores a model on a data set."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, runtime_checkable
from typing import Protocol as TypingProtocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from patchword.data import Kind, Source, cache
from patchword.errors import ConfigError, DataError, suggest
from patchword.evaluation.answers import Answers, Tokens, aligned, looked, reader, scores
from patchword.evaluation.disturbed import Disturb, Disturbed
from patchword.heads.classify import Classifier
from patchword.predictor import Card


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number: what it measures, and under which of the protocol's settings."""

    name: str  # as in "top-1"
    value: float
    interval: tuple[float, float] | None = None  # 95 %
    under: str = ""  # as in "5 shots"; a table has a row for each
    unit: Literal["share", "number"] = "share"  # shares are from 0 to 1

    @property
    def key(self) -> str:
        """The name in logs and files, as in `top1`."""
        return self.name.lower().replace("-", "").replace(" ", "_")

    def words(self, *, interval: bool = True) -> str:
        """Write the number, and its interval behind it."""
        form = "{:.2%}" if self.unit == "share" else "{:.4g}"
        if self.interval is None or not interval:
            return form.format(self.value)
        low, high = (form.replace("2%", "1%").format(end) for end in self.interval)
        return f"{form.format(self.value)} ({low} to {high})"


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The pictures that a model was about equally sure of."""

    count: int
    confidence: float  # mean probability of the answer; nan where no picture is
    accuracy: float  # share of right answers


@dataclass(frozen=True)
class ClassScore:
    """How a class, or a label, fared."""

    count: int  # pictures that have it; or pixels, objects, segments
    recall: float  # nan where no picture has it
    precision: float  # nan where it was never answered
    measures: tuple[tuple[str, float], ...] = ()  # further ones, by name, of all classes alike


@dataclass(frozen=True)
class Curve:
    """How precise answers are that are needed to reach a recall; shares, nan where it is not."""

    name: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a protocol found on one data set."""

    data: str
    split: str
    count: int  # pictures that were scored
    scores: tuple[Score, ...]  # the main one first, which weights are chosen by
    group: str = ""
    notes: tuple[str, ...] = ()  # what was left out or chosen, a sentence each
    unreadable: tuple[str, ...] = ()  # why pictures were not scored
    reliability: tuple[Bin, ...] = ()
    per_class: tuple[ClassScore, ...] = field(default=(), repr=False)
    counted: Literal["images", "pixels", "objects", "segments"] = "images"  # what these count
    curves: tuple[Curve, ...] = field(default=(), repr=False)
    pictures: tuple[tuple[int, float], ...] = field(default=(), repr=False)
    """Each scored picture's number in the source and its own score, where it has one."""
    ranked: str = ""  # what that score is called; the main one's name if ""
    confusion: NDArray[np.int64] | None = field(default=None, repr=False)
    """Rows: truth, columns: answers, both as the model numbers its classes, where it answers; of
    what may be nothing, a row and a column more."""

    def __getitem__(self, name: str) -> Score:
        """Return the first score of a name.

        Raises:
            ConfigError: there is none.
        """
        for score in self.scores:
            if score.name == name:
                return score
        raise ConfigError(f"no score {name!r}; {suggest(name, {s.name for s in self.scores})}")


@dataclass(frozen=True)
class Judged:
    """Pictures to judge a model by, and those that a probe may learn from."""

    name: str
    test: Source
    split: str  # that `test` is
    train: Source
    group: str = ""

    def learnt_from(self) -> Source:
        """Return the training pictures, for a probe.

        Raises:
            DataError: they are those that it would be scored on.
        """
        if self.split in ("train", "all"):
            raise DataError(
                f"{self.name} has no pictures to score a probe on but those that it learns from; "
                "add a val or test folder"
            )
        return self.train


class Subject:
    """A model to be judged. It looks at each source once; what it saw is kept.

    Args:
        model: with its head.
        card: its own, which says how pictures are framed.
        say: is told what a long protocol is at.
        tune: teaches a copy of a model the pictures of a source, for protocols that train.
    """

    def __init__(
        self,
        model: Classifier,
        card: Card,
        say: Callable[[str], None] = lambda line: None,
        tune: "Tune | None" = None,
    ) -> None:
        self.model, self.card, self.say, self.tune = model.eval(), card, say, tune
        self._seen: dict[tuple[int, str], tuple[Source, Answers]] = {}

    def answers(self, source: Source) -> Answers:
        """Return the model's logits, with labels and targets as it numbers the classes.

        Raises:
            DataError: the source has something else of its pictures than the model answers, or
                classes that it does not know.
        """
        return aligned(self.logits(source), source, self.card)

    def logits(self, source: Source) -> Answers:
        """Return the model's logits, with the source's own labels."""
        if len(self.model.head) > 1:  # one look tells all of them, and the model's answer
            parts = list(self.heads(source).values())
            return parts[0]._replace(logits=torch.stack([p.logits for p in parts]).mean(dim=0))
        return self._once(
            source, "logits", lambda: scores(self.model, source, self.card.preprocessing)
        )

    def heads(self, source: Source) -> dict[str, Answers]:
        """Return the logits of each of the model's heads, with the source's own labels."""

        def look(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b logits"]:
            return torch.cat(list(self.model.heads(images).values()), dim=1)

        found = self._once(
            source, "heads", lambda: looked(self.model, source, self.card.preprocessing, look)
        )
        parts = found.logits.chunk(len(self.model.head), dim=1)
        return {
            name: found._replace(logits=part)
            for name, part in zip(self.model.head, parts, strict=True)
        }

    def features(self, source: Source, tokens: Tokens) -> Answers:
        """Return features in the place of logits, with the source's own labels."""
        look = reader(self.model.backbone, tokens)
        return self._once(
            source, tokens, lambda: looked(self.model, source, self.card.preprocessing, look)
        )

    def framed(self, source: Source) -> Source:
        """Return the pictures as the model looks at them, kept in memory where they fit."""
        return cache(Disturbed(source, self.card.preprocessing, lambda image, _: image))

    def disturbed(self, framed: Source, disturb: Disturb) -> Answers:
        """Answer framed pictures after something was done to each; labels as in `answers`."""
        source = Disturbed(framed, None, disturb)
        whole = replace(self.card.preprocessing, crop=1.0)
        return aligned(scores(self.model, source, whole), source, self.card)

    def _once(self, source: Source, what: str, look: Callable[[], Answers]) -> Answers:
        key = (id(source), what)
        if key not in self._seen:
            self._seen[key] = (source, look())  # the source is kept, so its id stays its own
        return self._seen[key][1]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a model is taught new classes: a recipe's name, and what is said in place of its own."""

    recipe: str
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0


@runtime_checkable
class Tune(TypingProtocol):
    """Teaches; the rooms of training hand it over."""

    def __call__(self, model: Classifier, source: Source, how: Tuning) -> tuple[Classifier, str]:
        """Return a model of a source's classes that all its parts have learnt, and how in words."""
        ...


class Protocol(ABC):
    """How a model is judged: a frozen dataclass, whose fields are all that it takes to repeat it.

    A file of this room that holds one under `PROTOCOL` is a protocol by the file's name.
    """

    wants: ClassVar[tuple[Kind, ...]] = ("class", "shares")
    """What must be known of the pictures."""

    @abstractmethod
    def __call__(self, subject: Any, data: Judged) -> Finding:
        """Score a model on a data set: a `Subject`, or a `Viewer` where scenes are wanted."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out of judging one model by one protocol."""

    protocol: str
    settings: Protocol
    model: str
    findings: tuple[Finding, ...]  # one per data set
    means: tuple[Finding, ...] = ()  # over data sets: of each group, then of all

    def __getitem__(self, name: str) -> Score:
        """Return the first score of a name on the first data set."""
        return self.findings[0][name]


def rows(finding: Finding) -> dict[str, dict[str, Score]]:
    """Return a finding's scores as a table: by what they are under, then by name."""
    found: dict[str, dict[str, Score]] = {}
    for score in finding.scores:
        found.setdefault(score.under, {})[score.name] = score
    return found


def means(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the mean over data sets of every score they share: of each group, then of all.

    So VTAB is summed up (Zhai et al. 2019, arXiv:1910.04867): each set counts alike, whatever
    its size. A single set has no mean.
    """
    findings = tuple(findings)
    groups = [group for group in dict.fromkeys(f.group for f in findings) if group]
    parts = {group: [f for f in findings if f.group == group] for group in groups}
    found = [_mean(f"mean of {group}", group, part) for group, part in parts.items()]
    return (*found, _mean("mean", "", findings)) if len(findings) > 1 else ()


def _mean(name: str, group: str, findings: Iterable[Finding]) -> Finding:
    findings = tuple(findings)
    tables = [{(s.under, s.name): s for s in finding.scores} for finding in findings]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    return Finding(
        data=name,
        split="",
        count=sum(finding.count for finding in findings),
        group=group,
        scores=tuple(
            replace(
                tables[0][key],
                value=sum(table[key].value for table in tables) / len(tables),
                interval=None,
            )
            for key in shared
        ),
    )
