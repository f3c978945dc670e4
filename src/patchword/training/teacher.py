"""A teacher: any trained classifier, asked about the pictures that a student sees."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from patchword import adapters, models
from patchword.checkpoints import load
from patchword.engine.devices import Precision, computing
from patchword.errors import ConfigError, DataError, suggest
from patchword.factory import as_classifier
from patchword.heads.classify import Classifier
from patchword.predictor import Card, normalise

SOURCES = "a run, a folder or file of weights, NAME=FILE, timm:NAME or torchvision:NAME"


@dataclass(frozen=True)
class Teacher:
    """A trained classifier whose answers are about the classes of the data."""

    source: str  # as it was named
    model: Classifier
    columns: tuple[int, ...] | None  # of its scores, in the order of the data's classes; None: all
    digest: str  # of its weights and settings
    words: str  # how its classes were matched

    @property
    def card(self) -> Card:
        """What it knows of itself."""
        assert self.model.card is not None
        return self.model.card

    @torch.inference_mode()
    def answer(
        self, pixels: Float[Tensor, "b c h w"], precision: Precision
    ) -> Float[Tensor, "b classes"]:
        """Return the logits for pictures, of the type that the precision computes in.

        They are given the teacher's channels and size first, then its normalisation.

        Args:
            pixels: from 0 to 255, as the student sees them: augmented and mixed, not normalised.
            precision: of matrix products.
        """
        frame = self.card.preprocessing
        pixels = pixels.expand(-1, len(frame.mean), -1, -1)
        if pixels.shape[2:] != frame.image_size:
            mode = frame.interpolation
            pixels = F.interpolate(pixels, frame.image_size, mode=mode, antialias=True)
            pixels = pixels.clamp(0, 255)  # bicubic curves overshoot
        with computing(precision, pixels.device):
            logits = self.model(normalise(pixels, frame))
        return logits if self.columns is None else logits[:, list(self.columns)]


def load_teacher(source: str, classes: tuple[str, ...], channels: int) -> Teacher:
    """Load a trained classifier to learn from.

    Args:
        source: a run, a folder or file of weights, NAME=FILE where the file does not say what it
            holds, or timm:NAME or torchvision:NAME for that library's own weights.
        classes: the names of the data's classes, which the teacher has to know.
        channels: of the student's pictures.

    Raises:
        ConfigError: there is no such thing, or it reads other channels.
        DataError: its classes are not the data's.
        WeightsError: its weights cannot be read, or had.
    """
    model = found(source).requires_grad_(False).eval()
    card = model.card
    assert card is not None
    wanted = len(card.preprocessing.mean)
    if channels not in (1, wanted):
        raise ConfigError(
            f"the teacher {source} reads {wanted} channels, the student {channels}: take a teacher "
            "that was trained on such pictures"
        )
    columns, words = matched(card, classes, source)
    return Teacher(source, model, columns, digest(model, card), words)


def found(source: str) -> Classifier:
    """Load a classifier from whatever names one."""
    name, equals, file = source.partition("=")
    if Path(source).exists() or (source.partition(":")[0] in adapters.LIBRARIES and not equals):
        return as_classifier(load(source))
    if equals:
        return as_classifier(load(file, model=name))
    if source in models.index():
        raise ConfigError(
            f"--teacher {source} has no weights to teach with: name {SOURCES}, as in {source}=FILE"
        )
    near = (f"timm:{source}", f"torchvision:{source}", *models.index())
    raise ConfigError(f"there is no teacher {source!r}: name {SOURCES}; {suggest(source, near)}")


def matched(
    card: Card, classes: tuple[str, ...], source: str
) -> tuple[tuple[int, ...] | None, str]:
    """Match a teacher's classes with the data's, by name where it has names.

    Returns:
        the teacher's number of each class, None where they are the same; and what was done.

    Raises:
        DataError: the teacher does not know all of them.
    """
    if card.classes is None:
        if card.num_classes != len(classes):
            raise DataError(
                f"the teacher {source} knows {card.num_classes} classes without names, the data "
                f"has {len(classes)}: take a teacher that was trained on these classes"
            )
        return None, f"its {len(classes)} classes have no names and are taken in the data's order"
    strange = [name for name in classes if name not in card.classes]
    if strange:
        raise DataError(
            f"the teacher {source} does not know the classes {', '.join(strange[:5])}"
            f"{', ...' if len(strange) > 5 else ''}; it knows {', '.join(card.classes[:5])}"
            f"{', ...' if len(card.classes) > 5 else ''}"
        )
    if card.classes == classes:
        return None, "its classes are the data's"
    columns = tuple(card.classes.index(name) for name in classes)
    return columns, f"{len(classes)} of its {card.num_classes} classes are matched by name"


def digest(model: Classifier, card: Card) -> str:
    """Return a SHA-256 over a model's name and settings, and its tensors' names and bytes."""
    about = {"model": card.model, "config": card.config}
    hashed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        hashed.update(flat.view(torch.uint8).numpy().data)
    return hashed.hexdigest()
