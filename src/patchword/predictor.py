"""A trained model with all that it takes to use it: preprocessing, pixel contract, class names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from patchword.data.decode import decode
from patchword.data.frame import Frame
from patchword.data.pixels import Pixels
from patchword.data.source import Kind
from patchword.data.views import Average
from patchword.data.views import views as named

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What values were before they were learnt: a model answers in deviations from the mean."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def restored(self, answers: Float[Tensor, "b values"]) -> Float[Tensor, "b values"]:
        """Turn answers into the values' own units."""
        return answers * answers.new_tensor(self.std) + answers.new_tensor(self.mean)

    def standard(self, values: Float[Tensor, "b values"]) -> Float[Tensor, "b values"]:
        """Turn values into deviations from the mean."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.std)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model knows of itself: `config.json`, beside its weights."""

    model: str  # the name it has in the zoo
    config: dict[str, Any]  # its backbone's settings, in full
    backbone: str | None = None  # the backbone's own name, where a dense head is on it
    head: dict[str, Any] | None = None  # that head's settings, in full
    num_classes: int
    pretraining_head: bool = False
    classes: tuple[str, ...] | None = None  # names, by index
    ids: tuple[int, ...] = ()  # numbers that the data has for the classes, where it has any
    kind: Kind = "class"  # of the answers
    scale: Scale | None = None  # of values
    preprocessing: Frame
    pixels: Pixels = field(default_factory=Pixels)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the classes; their numbers where nobody named them."""
        return self.classes or tuple(map(str, range(self.num_classes)))


@dataclass(frozen=True)
class Answer:
    """What a model says of one picture: classes or labels, the likeliest first; or values."""

    names: tuple[str, ...]
    indices: tuple[int, ...]
    probabilities: tuple[float, ...]  # of labels, each by itself; none of values
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Show the names with their probabilities or values."""
        if self.values:
            told = zip(self.names, self.values, strict=True)
            return ", ".join(f"{name} {value:.4g}" for name, value in told)
        pairs = zip(self.names, self.probabilities, strict=True)
        return ", ".join(f"{name} {probability:.1%}" for name, probability in pairs)


def normalise(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"], preprocessing: Frame
) -> Float[Tensor, "b c h w"]:
    """Turn pixels from 0 to 255 into what a model reads."""
    mean, std = (
        torch.tensor(values, device=images.device).view(-1, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (images.float() / 255 - mean) / std


def averaged(
    logits: Float[Tensor, "b v classes"], kind: Kind, average: Average
) -> Float[Tensor, "b classes"]:
    """Return probabilities from the scores of several views of each picture; of labels each's."""
    scores = logits.mean(dim=1, keepdim=True) if average == "logits" else logits
    return (scores.sigmoid() if kind == "labels" else scores.softmax(dim=2)).mean(dim=1)


class Predictor:
    """Pictures in (files, PIL images, arrays), names and probabilities out.

    Args:
        model: with its head.
        card: its own.
        views: by which each picture is answered, as `data.views` names them; several cost as many
            times the computing.
        average: what is averaged over them; values are as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        card: Card,
        views: Sequence[str] = (),
        average: Average = "probabilities",
    ) -> None:
        self.model, self.card = model.eval(), card
        self.views = named(views)
        self.average: Average = average
        self.names = card.names

    def __call__(self, picture: "Path | str | bytes | Image | Tensor", *, top: int = 5) -> Answer:
        """Answer one picture.

        Args:
            picture: a file's path or bytes, a PIL image, or uint8 pixels (c, h, w).
            top: how many classes to name.

        Raises:
            ImageError: it cannot be read.
        """
        return self.answers([self.pixels(picture)], top=top)[0]

    def pixels(
        self, picture: "Path | str | bytes | Image | Tensor"
    ) -> UInt8[Tensor, "*views c h w"]:
        """Return a picture's pixels as the model looks at them, before normalisation.

        Where it is to be answered by several views, these stand first.
        """
        if isinstance(picture, str):
            picture = Path(picture)
        if not isinstance(picture, Tensor):
            picture = decode(picture, self.card.pixels)
        made = self.views(picture, self.card.preprocessing)
        return made if len(made) > 1 else made[0]

    def answers(
        self, pixels: Sequence[UInt8[Tensor, "*views c h w"]], *, top: int = 5
    ) -> list[Answer]:
        """Answer pictures that went through `pixels`, as one batch."""
        if self.card.kind == "values":
            places = tuple(range(len(self.names)))
            rows = self.values(torch.stack(list(pixels))).tolist()
            return [Answer(self.names, places, (), tuple(row)) for row in rows]
        scores = self.probabilities(torch.stack(list(pixels)))
        values, indices = scores.topk(min(top, scores.shape[1]), dim=1)
        return [
            Answer(tuple(self.names[i] for i in row), tuple(row), tuple(probabilities))
            for row, probabilities in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def probabilities(self, images: UInt8[Tensor, "b *views c h w"]) -> Float[Tensor, "b classes"]:
        """Return each class's probability; of labels, each one's by itself."""
        return averaged(self._scores(images), self.card.kind, self.average)

    @torch.inference_mode()
    def values(self, images: UInt8[Tensor, "b *views c h w"]) -> Float[Tensor, "b values"]:
        """Return the values that a regression answers, in their own units."""
        scores = self._scores(images).mean(dim=1)
        return scores if self.card.scale is None else self.card.scale.restored(scores)

    def _scores(self, images: UInt8[Tensor, "b *views c h w"]) -> Float[Tensor, "b v classes"]:
        where = next(self.model.parameters()).device
        looks = normalise(images.flatten(0, -4).to(where), self.card.preprocessing)
        return self.model(looks).float().cpu().unflatten(0, (len(images), -1))
