"""Classification: one score per class.

Paper      the linear head and the two-layer one of pre-training: Dosovitskiy et al. 2021,
           arXiv:2010.11929, section 3.1; a head per token: Touvron et al. 2021, arXiv:2012.12877
Reference  github.com/google-research/vision_transformer, vit_jax/models_vit.py;
           github.com/facebookresearch/deit, models.py
Departures none
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.features import Backbone
from patchword.predictor import Card, Predictor


class LinearHead(nn.Linear):
    """One linear layer, whose weights start at a deviation of `std`: at 0, all scores are equal."""

    def __init__(self, width: int, num_classes: int, std: float = 0.0) -> None:
        super().__init__(width, num_classes)
        nn.init.trunc_normal_(self.weight, std=std) if std else nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class PretrainingHead(nn.Sequential):
    """A hidden layer with tanh, then a linear one (used in pre-training, dropped after it)."""

    def __init__(self, width: int, num_classes: int, std: float = 0.0) -> None:
        hidden = nn.Linear(width, width)
        nn.init.xavier_uniform_(hidden.weight)
        nn.init.zeros_(hidden.bias)
        super().__init__(hidden, nn.Tanh(), LinearHead(width, num_classes, std))


class Classifier(nn.Module):
    """A backbone, and a head on each of its readouts; with its card, a whole model."""

    def __init__(
        self, backbone: Backbone, heads: dict[str, nn.Module], card: Card | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.ModuleDict(heads)
        self.card = card

    def forward(self, images: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b classes"]:
        """Score images: logits, the mean over the heads where there are several."""
        scores = list(self.heads(images).values())
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)

    def heads(self, images: Float[Tensor, "b c *grid"]) -> dict[str, Float[Tensor, "b classes"]]:
        """Score images once per head, by the readout's name."""
        return self.read(self.backbone(images).pooled)

    def read(self, pooled: Float[Tensor, "b d"]) -> dict[str, Float[Tensor, "b classes"]]:
        """Score what the backbone saw once per head, by the readout's name."""
        parts = pooled.chunk(len(self.head), dim=1)
        return {
            name: head(part) for (name, head), part in zip(self.head.items(), parts, strict=True)
        }

    def predictor(self, views: Sequence[str] = ()) -> Predictor:
        """Return what answers pictures: the model with its preprocessing and its names.

        Args:
            views: of each picture, over which probabilities are averaged: flip, crops, scale=1.2.

        Raises:
            ConfigError: the model was put together by hand and has no card.
        """
        if self.card is None:
            raise ConfigError("this model has no card: make it with create_model, or load it")
        return Predictor(self, self.card, views)


def classifier(backbone: Backbone, num_classes: int, *, pretraining: bool = False) -> Classifier:
    """Put a fresh head on each readout of a backbone.

    Args:
        backbone: any; its `width` and `readouts` say what a head reads.
        num_classes: scores per image.
        pretraining: use the two-layer head.
    """
    make = PretrainingHead if pretraining else LinearHead
    width = backbone.width // len(backbone.readouts)
    std = backbone.head_std
    return Classifier(backbone, {n: make(width, num_classes, std) for n in backbone.readouts})
