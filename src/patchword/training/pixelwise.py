"""The model that learns scenes: a head, what it stands on, and the sizes at which it sees them."""

from dataclasses import replace

import torch

from patchword import heads
from patchword.config import dump
from patchword.data import Kind, Pixels, Source
from patchword.errors import ConfigError
from patchword.factory import describe, design_of, family
from patchword.heads.classify import Classifier
from patchword.heads.detr_panoptic import DETRPanopticConfig
from patchword.predictor import Card
from patchword.recipes.pick import LONG, SCENES, WHOLE, Pick
from patchword.recipes.recipe import Recipe
from patchword.training.headed import headed
from patchword.training.settings import Request
from patchword.training.start import Start, adapted, underneath


def named(request: Request, picked: Pick, kind: Kind, start: Start | None) -> str:
    """Return the name of the model: as asked for, what is started from, or what goes on that."""
    if request.model is not None:
        return request.model
    if start is not None and start.card.head is not None:
        return start.card.model
    if start is None and request.backbone is None:
        return picked.model
    below = request.backbone or (start.card.model if start else "")
    return SCENES[kind].on_any[has_pyramid(below)]


def has_pyramid(name: str) -> bool:
    """Tell whether a backbone's maps become coarser with depth."""
    with torch.device("meta"):
        levels = family(name).VARIANTS[name].build().levels
    return len({level.stride for level in levels}) > 1


def pixelwise(
    request: Request,
    picked: Pick,
    pixels: Pixels,
    source: Source,
    recipe: Recipe,
    start: Start | None,
) -> tuple[Card, Start | None]:
    """Describe the model, and fill it where a training starts from another.

    Args:
        request: what is asked for, the image size settled.
        picked: for what is not said.
        pixels: the contract.
        source: of the training pictures.
        recipe: as it will run.
        start: what is started from.

    Raises:
        ConfigError: the model answers something else, stands on another network, or is no head.
    """
    name = named(request, picked, source.kind, start)
    answers(name, source.kind, request.backbone)
    size = request.image_size or picked.image_size
    within = seen_within(size, picked, recipe, source.kind)
    if start is not None and not isinstance(start.model, Classifier):
        there = (start.card.model, start.card.backbone)
        if name != there[0] or request.backbone not in (None, there[1]):
            raise ConfigError(
                f"--init {start.source} holds {there[0]} on {there[1]}: leave --model and "
                "--backbone out, or start from that backbone alone"
            )
        start = adapted(start, replace(request, model=name, image_size=size), source)
        frame = replace(start.card.preprocessing, within=within)
        return headed(replace(start.card, preprocessing=frame), source, fresh=False), start
    card = describe(
        name,
        backbone=standing(name, request, start),
        num_classes=len(source.classes),
        image_size=size,
        in_chans=pixels.channels,
    )
    frame = replace(card.preprocessing, within=within)
    if start is not None:
        settings = {**start.card.config, **changes(card), "image_size": list(size)}
        card, base = replace(card, config=settings), start.card.preprocessing
        frame = replace(frame, mean=base.mean, std=base.std)
    card = headed(replace(card, preprocessing=frame), source, fresh=start is None)
    return card, underneath(start, card, request.seed) if start is not None else None


def seen_within(
    size: tuple[int, int], picked: Pick, recipe: Recipe, kind: Kind
) -> tuple[int, int] | None:
    """Return the sides that pictures are fitted into, by the size that whole ones are seen at."""
    if recipe.within != "auto":
        return recipe.within
    return (LONG * min(size), min(size)) if kind in WHOLE else picked.within


def answers(name: str, kind: Kind, backbone: str | None) -> None:
    """Make sure that a model answers what the data says.

    Raises:
        ConfigError: it does not.
    """
    ours = [n for n in heads.index() if heads.config(n).head.kind == kind]
    fitting = [n for n in ours if not isinstance(heads.config(n).head, DETRPanopticConfig)]
    if name not in heads.index():
        design_of(name, backbone)  # says what is wrong with a name
        bare = SCENES[kind].on_any[has_pyramid(name)]
        raise ConfigError(
            f"{name} answers for whole pictures: put a head on it, as in --model {bare} "
            f"--backbone {name}"
        )
    if name in ours and name not in fitting:
        raise ConfigError(
            f"{name} learns masks of objects, which no training reads yet; name one of "
            f"{', '.join(fitting[:6])}, ..."
        )
    if name not in fitting:
        raise ConfigError(
            f"{name} answers with {heads.config(name).head.kind}, the data has {kind}; name one of "
            f"{', '.join(fitting[:6])}, ..."
        )


def standing(name: str, request: Request, start: Start | None) -> str | None:
    """Return the backbone that a head is put on; None: its own.

    Raises:
        ConfigError: a training starts from another.
    """
    own = heads.config(name).backbone
    if start is None:
        return request.backbone
    there = start.card.model
    wanted = request.backbone or own or there
    if wanted != there:
        bare = heads.index()[name]
        raise ConfigError(
            f"--init {start.source} holds {there}, and {name} stands on {wanted}: name a head for "
            f"any backbone, as in --model {bare}, or start from a {wanted}"
        )
    return None if own == there and request.backbone is None else there


def changes(card: Card) -> dict[str, object]:
    """Return the settings of a backbone that a head's paper changes."""
    design = heads.config(card.model)
    if design.backbone != card.backbone:
        return {}
    settings = dump(family(str(card.backbone)).VARIANTS[card.backbone])
    return {key: card.config[key] for key in design.changes if key in settings}
