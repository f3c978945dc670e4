"""A model as a protocol judges it: by its answers to whole pictures, or place by place."""

from collections.abc import Callable
from typing import TypeAlias

from patchword.evaluation.looker import Parter, Spotter
from patchword.evaluation.protocol import Subject, Tune
from patchword.evaluation.viewing import Viewer
from patchword.factory import Model
from patchword.heads.classify import Classifier
from patchword.heads.detector import Detector
from patchword.heads.panoptic import Panoptic
from patchword.predictor import Card

AnySubject: TypeAlias = Subject | Viewer | Spotter | Parter


def subject_of(
    model: Model,
    card: Card,
    say: Callable[[str], None] = lambda line: None,
    tune: Tune | None = None,
) -> AnySubject:
    """Return what protocols of the model's kind judge."""
    if isinstance(model, Classifier):
        return Subject(model, card, say, tune)
    if isinstance(model, Detector):
        return Spotter(model, card, say)
    return Parter(model, card, say) if isinstance(model, Panoptic) else Viewer(model, card, say)
