"""What the data, and what was learnt before, settle of a head and of how it is taught."""

from dataclasses import replace

import torch
from torch import nn

from patchword.data import Source
from patchword.evaluation.looker import reads_any_size
from patchword.factory import build
from patchword.predictor import Card
from patchword.recipes.pick import WHOLE
from patchword.recipes.recipe import Recipe

SCALE = (0.75, 1.25)  # of pictures that are fitted into the one size that a network reads


def headed(card: Card, source: Source, *, fresh: bool) -> Card:
    """Settle the classes of a head, which are things, and whether norms of its backbone learn.

    Args:
        card: of a model with a head.
        source: of the training pictures.
        fresh: nothing was learnt before: norms that keep their statistics would have none.
    """
    head = dict(card.head or {})
    if "things" in head:
        head["things"] = sorted(source.things)
    if fresh and "frozen_norms" in head:
        head["frozen_norms"] = False
    return replace(card, head=head, classes=source.classes)


def whole(card: Card, recipe: Recipe) -> tuple[Card, Recipe, tuple[str, ...]]:
    """Fit pictures that are seen whole into the one size that some networks read.

    Returns:
        card and recipe as they will be, and what is to be said of them.
    """
    if card.kind not in WHOLE or recipe.joint is None or reads_any_size(card):
        return card, recipe, ()
    joint, size = recipe.joint, card.preprocessing.image_size
    if joint.crop is None and joint.large_scale is None:
        joint = replace(joint, scale=SCALE, crop=1.0, sizes=None)
    frame = replace(card.preprocessing, within=(min(size), min(size)))
    words = (
        f"{card.backbone} reads pictures of {size[0]}x{size[1]} pixels alone: they are fitted into "
        "that, and in training cut or filled up to it"
    )
    return replace(card, preprocessing=frame), replace(recipe, joint=joint), (words,)


def fresh_norms(card: Card) -> tuple[str, ...]:
    """Say that norms learn which a paper keeps, where there are such."""
    if card.head is None or card.head.get("frozen_norms") is not False:
        return ()
    with torch.device("meta"):
        parts = build(card).backbone.modules()
    if not any(isinstance(part, nn.BatchNorm2d) for part in parts):
        return ()
    return ("the backbone's batch norms learn, as nothing was learnt before (--init)",)
