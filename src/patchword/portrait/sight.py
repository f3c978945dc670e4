"""What a model says of held-out pictures, and what it sees in them, level by level, in one pass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchword import models
from patchword.adapters import Adapted
from patchword.checkpoints import load
from patchword.data import Source, Subset
from patchword.engine.devices import device as named_device
from patchword.errors import ConfigError
from patchword.evaluation.answers import looked, relabelled
from patchword.evaluation.protocol import Judged
from patchword.factory import as_classifier
from patchword.heads.classify import Classifier
from patchword.predictor import Card, Predictor
from patchword.training.judge import sets, stored_run

ENOUGH = 128  # held-out pictures that are looked at
BATCH = 32


@dataclass(frozen=True)
class Sitter:
    """A model that is looked into."""

    name: str  # of the run, or of the file
    model: Classifier
    card: Card
    data: Judged | None  # its own, where it is a run

    @property
    def predictor(self) -> Predictor:
        """What answers single pictures."""
        return Predictor(self.model, self.card)

    @property
    def unseen(self) -> str:
        """Say why nothing is recorded, where another library's code computes; else nothing."""
        if not isinstance(self.model.backbone, Adapted):
            return ""
        library, _, name = self.card.model.partition(":")
        ours = name.partition(".")[0]
        more = f"; of our own {ours} they are" if ours in models.index() else ""
        return (
            f"{self.card.model} computes by the code of {library}, whose attention and positions "
            f"are not recorded{more}."
        )


@dataclass(frozen=True)
class Sight:
    """What a model says of some pictures and sees in them; rows are pictures.

    Attributes:
        source: the pictures that could be read, in the order of the rows.
        split: that they are of.
        labels: as the model numbers its classes; none where it is not one class that is known.
        probabilities: of each class; none where the model answers with something else.
        pooled: what its head reads.
        levels: the mean over the cells of each level, by name.
    """

    source: Source
    split: str
    labels: Int[Tensor, " n"] | None
    probabilities: Float[Tensor, "n classes"] | None
    pooled: Float[Tensor, "n d"]
    levels: dict[str, Float[Tensor, "n _"]]

    @property
    def answers(self) -> Int[Tensor, " n"] | None:
        """The likeliest class of each picture."""
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    @property
    def right(self) -> tuple[bool, ...] | None:
        """Whether each picture was answered right, where that is known."""
        if self.labels is None or self.answers is None:
            return None
        return tuple((self.labels == self.answers).tolist())


def sitter(run: Path, device: str) -> Sitter:
    """Load a model, and open the pictures that it was judged on.

    Raises:
        ConfigError: it has no card to say how pictures are framed.
    """
    model = as_classifier(load(run)).to(named_device(device)).eval()
    card = model.card
    if card is None:
        raise ConfigError(f"{run} does not say how its pictures are framed: it has no card")
    data = next(sets(run, (), card, "auto")) if stored_run(run) else None
    return Sitter(run.resolve().name, model, card, data)


def sample(source: Source, count: int = ENOUGH) -> Source:
    """Return at most so many pictures of a source, spread evenly over it."""
    if len(source) <= count:
        return source
    return Subset(source, np.linspace(0, len(source) - 1, count).round().astype(np.int64))


def sight(who: Sitter, data: Judged) -> Sight:
    """Have a model look at a sample of pictures, once."""
    backbone, card, source = who.model.backbone, who.card, sample(data.test)
    names = [level.name for level in backbone.levels]
    widths: list[int] = []

    def look(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        seen = backbone(images, taps=names)
        parts = seen.pooled.chunk(len(who.model.head), dim=1)
        scores = [head(part) for head, part in zip(who.model.head.values(), parts, strict=True)]
        means = [tap.map.flatten(2).mean(dim=2) for tap in seen.taps]
        found = [torch.stack(scores).mean(dim=0), seen.pooled, *means]
        widths[:] = [part.shape[1] for part in found]
        return torch.cat([part.float() for part in found], dim=1)

    found = looked(who.model, source, card.preprocessing, look, batch_size=BATCH)
    scores, pooled, *levels = found.logits.split(widths, dim=1)
    classes = card.kind in ("class", "shares")
    known = classes and source.kind in ("class", "shares")
    return Sight(
        source=Subset(source, found.indices.numpy()),
        split=data.split,
        labels=relabelled(found.labels, source, card) if known else None,
        probabilities=scores.softmax(dim=1) if classes else None,
        pooled=pooled,
        levels=dict(zip(names, levels, strict=True)),
    )
