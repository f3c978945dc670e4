"""Models by name, with fresh weights."""

import difflib
from collections.abc import Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import torch

from patchword import adapters, heads, models
from patchword.config import dump, parse
from patchword.data.frame import Frame
from patchword.data.pixels import Pixels
from patchword.errors import ConfigError, suggest
from patchword.heads.classify import Classifier, classifier
from patchword.heads.dense import Dense, Design, HeadConfig
from patchword.heads.detector import Detector
from patchword.predictor import Card
from patchword.weights import Format

Model = Classifier | Dense | Detector
"""What a name makes: a backbone with a head, and a card of its own."""


def list_models(pattern: str = "*") -> list[str]:
    """Name the models that a pattern fits, as in `list_models("deit*")`."""
    whole = (*models.index(), *(name for name in heads.index() if heads.config(name).backbone))
    return sorted(name for name in whole if fnmatchcase(name, pattern))


def some_models(pattern: str) -> list[str]:
    """Name the models that a pattern fits, one at least.

    Raises:
        ConfigError: none has such a name.
    """
    names = list_models(pattern)
    if not names:
        near = suggest(pattern, models.index())
        raise ConfigError(f"no model's name is like {pattern!r}; {near}")
    return names


def family(name: str) -> Any:
    """Look up what holds a model: a file of the zoo, or what describes another library's.

    It has `VARIANTS`, `PREPROCESSING` and `FORMATS`.

    Raises:
        ConfigError: no model has that name.
        MissingExtra: it is of a library that is not installed.
    """
    return adapters.family(name) if ":" in name else models.family(name)


def config(name: str) -> Any:
    """Look a model's configuration up; `config(name).build()` is its backbone."""
    return family(name).VARIANTS[name]


def with_token(name: str) -> str:
    """Return the model that is like another, with a distillation token: its distilled sibling.

    Raises:
        ConfigError: no model is called so, or it has no such sibling.
    """
    with torch.device("meta"):
        if "distillation" in config(name).build().readouts:
            return name
    parts = name.split("_")
    for words in (parts, ["deit", *parts[1:]]) if parts[0] == "vit" else (parts,):
        for place in range(1, len(words) + 1):
            sibling = "_".join([*words[:place], "distilled", *words[place:]])
            if sibling in models.index():
                return sibling
    known = [there for there in models.index() if "distilled" in there]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0) or known
    raise ConfigError(f"{name} has no form with a distillation token; {', '.join(near)} have one")


def create_model(
    name: str,
    *,
    backbone: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pretraining_head: bool = False,
) -> Model:
    """Make a model with fresh weights.

    Args:
        name: one of `list_models()`; or another library's model, as in "timm:NAME" and
            "torchvision:regnet_y_16gf".
        backbone: name of the model below a head for every pixel; the head's own if None.
        num_classes: scores per image or pixel; 1000, or what the head's paper has, if None.
        image_size: a side, or rows and columns, in pixels; the name's own if None.
        in_chans: channels of an image.
        drop_rate: dropout, from 0 to 1.
        drop_path_rate: stochastic depth of the last block, from 0 to 1.
        pretraining_head: use the two-layer head of pre-training.

    Raises:
        ConfigError: no model has that name, a number is out of its range, or the backbone lacks
            the levels that the head reads.
    """
    card = describe(
        name,
        backbone=backbone,
        num_classes=num_classes,
        image_size=image_size,
        in_chans=in_chans,
    )
    if pretraining_head and card.head is not None:
        raise ConfigError(f"{name} has a head of its own; leave pretraining_head out")
    settings = parse(type(config(card.backbone or name)), card.config)
    settings = regularised(settings, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    return build(replace(card, config=dump(settings), pretraining_head=pretraining_head))


def describe(
    name: str,
    *,
    backbone: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int = 3,
) -> Card:
    """Return the card of a model of a name, as `create_model` makes it.

    Raises:
        ConfigError: no model has that name, or a number is out of its range.
    """
    design = design_of(name, backbone)
    below = name if design is None else backbone or design.backbone or name
    held = family(below)
    settings = held.VARIANTS[below]
    base, count = held.PREPROCESSING, 1000
    if design is not None:
        count = design.num_classes
        if backbone is None:
            settings, base = replace(settings, **design.changes), design.frame or base
    count = count if num_classes is None else num_classes
    if count < 1 or in_chans < 1:
        raise ConfigError("num_classes and in_chans are at least 1")
    size = settings.image_size if image_size is None else sides(image_size)
    framed = preprocessing(base, size, in_chans)
    return Card(
        model=name,
        config=dump(replace(settings, image_size=size, in_chans=in_chans)),
        backbone=None if design is None else below,
        head=None if design is None else dump(design.head),
        num_classes=count,
        preprocessing=framed if design is None else replace(framed, crop=1.0),
        pixels=contract(Pixels(), in_chans),
    )


def design_of(name: str, backbone: str | None) -> Design | None:
    """Return the head that a name is of and what it stands on; None of a classifier.

    Raises:
        ConfigError: no model has that name; or it needs a backbone, or takes none.
    """
    if name in heads.index():
        design: Design = heads.config(name)
        if backbone is None and design.backbone is None:
            own = [
                n for n in heads.index() if n.startswith(f"{name}_") and heads.config(n).backbone
            ]
            example = f"create_model({name!r}, backbone='vit_small_patch16_224')"
            others = f"; {', '.join(own[:3])} have one" if own else ""
            raise ConfigError(f"{name} goes on any backbone: name one, as in {example}{others}")
        return design
    if ":" not in name and name not in models.index():
        known = (*models.index(), *heads.index())
        raise ConfigError(f"no model is called {name!r}; {suggest(name, known)}")
    if backbone is not None:
        raise ConfigError(
            f"{name} is a backbone itself: name a head for every pixel, such as "
            f"{', '.join(n for n in heads.index() if heads.config(n).backbone is None)}"
        )
    return None


def regularised(config: Any, *, drop_rate: float, drop_path_rate: float) -> Any:
    """Set dropout and stochastic depth in the config of a family that has them.

    Raises:
        ConfigError: one of them is not 0, and the family lacks it.
    """
    there = {field.name for field in fields(config)}
    wanted = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    for name in wanted.keys() - there:
        if wanted[name]:
            raise ConfigError(f"{type(config).__name__} has no {name}; leave it at 0")
    return replace(config, **{name: wanted[name] for name in wanted.keys() & there})


def sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of an image size that may be one number."""
    rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
    if rows < 1 or columns < 1:
        raise ConfigError(f"an image of {rows}x{columns} pixels has nothing on it")
    return rows, columns


def preprocessing(base: Frame, size: tuple[int, int], channels: int) -> Frame:
    """Fit a family's preprocessing to an image size and a number of channels."""
    crop = 1.0 if min(size) >= 384 or max(size) < 64 else base.crop
    mean, std = base.mean, base.std
    if channels != len(mean):
        mean, std = ((sum(v) / len(v),) * channels for v in (mean, std))
    return replace(base, image_size=size, crop=crop, mean=mean, std=std)


def contract(base: Pixels, channels: int) -> Pixels:
    """Fit a pixel contract to grey or coloured images; other channels are bands, to be stated."""
    return replace(base, channels=channels, bands=None) if channels in (1, 3) else base


def build(card: Card) -> Model:
    """Make the model that a card describes, with fresh weights.

    Raises:
        ConfigError: its settings are not those of its name, or its head cannot read its backbone.
    """
    below = card.backbone or card.model
    settings = parse(type(config(below)), card.config, where=f"the config of {below}")
    if card.head is None:
        model = classifier(settings.build(), card.num_classes, pretraining=card.pretraining_head)
    else:
        head = parse(type(heads.config(card.model).head), card.head, where=f"the head {card.model}")
        model = head.assemble(settings.build(), card.num_classes)
    model.card = card
    return model


def metric(card: Card) -> bool:
    """Tell whether a model answers depths in metres, not inverse ones of any scale and shift."""
    if card.head is None:
        return False
    head = parse(type(heads.config(card.model).head), card.head, where=f"the head {card.model}")
    return isinstance(head, HeadConfig) and head.metric


def formats(card: Card) -> tuple[Format, ...]:
    """Return how other projects name the tensors of a card's model."""
    below = family(card.backbone or card.model).FORMATS
    if card.head is None:
        return tuple(below)
    settings = parse(type(heads.config(card.model).head), card.head)
    around = (head.around(below, settings) for head in heads.family(card.model).FORMATS)
    return tuple(format_ for format_ in around if format_ is not None)


def as_classifier(model: Model) -> Classifier:
    """Return a model that answers for whole pictures.

    Raises:
        ConfigError: it answers for every pixel, or with boxes.
    """
    if isinstance(model, Classifier):
        return model
    name = model.card.model if model.card is not None else type(model.head).__name__
    what = "with boxes" if isinstance(model, Detector) else "for every pixel"
    raise ConfigError(f"{name} answers {what}; wanted: a classifier, such as its backbone")


def as_dense(model: Model) -> Dense:
    """Return a model that answers for every pixel.

    Raises:
        ConfigError: it answers for whole pictures, or with boxes.
    """
    if isinstance(model, Dense):
        return model
    name = model.card.model if model.card is not None else type(model.head).__name__
    what = "for whole pictures" if isinstance(model, Classifier) else "with boxes"
    raise ConfigError(f"{name} answers {what}; wanted: a model that answers for every pixel")
