"""Where a training starts from: a trained model, adapted to the images and classes of this one."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from patchword import heads
from patchword.adaptation import adapt, put_under
from patchword.checkpoints import restore
from patchword.data import Source
from patchword.data.scenes import KINDS
from patchword.errors import ConfigError, WeightsError
from patchword.factory import Model, as_classifier, build, with_token
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.training.settings import Request
from patchword.weights.report import Report

SHOWN = 4  # changes on the first screen; all of them stand in config.json


@dataclass(frozen=True)
class Start:
    """A trained model as it was found, or as it was adapted, and what is to be said of it."""

    source: str
    model: Model
    report: Report

    @property
    def card(self) -> Card:
        """What it knows of itself."""
        assert self.model.card is not None
        return self.model.card

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from, and what became of its tensors."""
        return {"init": self.source, "adapted": self.report.lines, "parent": self.card.provenance}

    @property
    def words(self) -> list[str]:
        """Say what was kept and what was changed, like changes in one line."""
        alike: dict[str, list[str]] = {}
        for line in self.report.lines:
            part, _, change = line.partition("; ")[0].rpartition(": ")
            alike.setdefault(f"{part.split(': ')[0]}: {change}", []).append(line)
        lines = [f"{a} (and {len(more)} more so)" if more else a for a, *more in alike.values()]
        rest = [f"{len(lines) - SHOWN} more changes: config.json names all"] * (len(lines) > SHOWN)
        return [f"{self.source}: {self.report.kept} tensors kept", *lines[:SHOWN], *rest]


def restored(request: Request) -> Start | None:
    """Load what a request starts from; None where it starts afresh."""
    if request.init is None:
        return None
    failed: list[ConfigError | WeightsError] = []
    for name in dict.fromkeys((request.model, below(request), None)):  # the last: of other sizes
        try:
            return Start(request.init, *restore(request.init, name, None))
        except (ConfigError, WeightsError) as error:
            failed.append(error)
    raise failed[0]


def below(request: Request) -> str | None:
    """Return the name of the backbone below the head that is asked for, where one is."""
    if request.backbone is not None or request.model not in heads.index():
        return request.backbone
    return heads.config(request.model).backbone


def adapted(start: Start, request: Request, source: Source) -> Start:
    """Adapt a trained model to the images that are asked for and to the data's classes.

    The head keeps its rows of classes of equal names. One whose classes have no names is kept
    where it has as many.

    Args:
        start: as it was found.
        request: what is asked for.
        source: of the training pictures; a head that answers otherwise than they say is not kept.

    Raises:
        ConfigError: the model is another network, or cannot be adapted so.
    """
    card, classes = start.card, source.classes
    model: Model = start.model
    if source.kind not in KINDS:
        model = as_classifier(model)
    name = request.model or card.model
    if request.token and with_token(name) != name:
        raise ConfigError(
            f"--init {start.source} holds {name}, which has no distillation token: leave --token "
            f"out, or start from a {with_token(name)}"
        )
    if card.kind != source.kind:
        model.card = replace(card, classes=())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)  # of a fresh head
        made, changes = adapt(
            model,
            name=None if name == card.model else name,
            image_size=request.image_size,
            classes=classes,
        )
    nameless = (
        card.classes is None and card.num_classes == len(classes) and card.kind == source.kind
    )
    words = f"its {len(classes)} classes have no names and are taken in the data's order"
    report = replace(
        changes,
        new=(*start.report.new, *changes.new),
        dropped=(*start.report.dropped, *changes.dropped),
        noted=(*start.report.noted, *changes.noted, *([words] if nameless else [])),
    )
    made.card = replace(made.card or card, provenance=card.provenance)
    return Start(start.source, made, report)


def underneath(start: Start, card: Card, seed: int) -> Start:
    """Put a trained classifier's backbone under a fresh head.

    Args:
        start: as it was found.
        card: of the model that is wanted, on a backbone of the same name.
        seed: of the head.
    """
    assert isinstance(start.model, Classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = build(card)
    changes = put_under(start.model, made)
    report = replace(
        changes,
        new=(*start.report.new, *changes.new),
        dropped=(*start.report.dropped, *changes.dropped),
        noted=(*start.report.noted, *changes.noted),
    )
    made.card = replace(card, provenance=start.card.provenance)
    return Start(start.source, made, report)
