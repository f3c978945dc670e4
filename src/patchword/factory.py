"""Models by name, with fresh weights."""

import difflib
from collections.abc import Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

import torch

from patchword import adapters, models
from patchword.config import dump, parse
from patchword.data.frame import Frame
from patchword.data.pixels import Pixels
from patchword.errors import ConfigError
from patchword.heads.classify import Classifier, classifier
from patchword.predictor import Card


def list_models(pattern: str = "*") -> list[str]:
    """Name the models that a pattern fits, as in `list_models("deit*")`."""
    return sorted(name for name in models.index() if fnmatchcase(name, pattern))


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
    num_classes: int = 1000,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pretraining_head: bool = False,
) -> Classifier:
    """Make a classifier with fresh weights.

    Args:
        name: one of `list_models()`; or another library's model, as in "timm:NAME" and
            "torchvision:regnet_y_16gf".
        num_classes: scores per image.
        image_size: a side, or rows and columns, in pixels; the name's own if None.
        in_chans: channels of an image.
        drop_rate: dropout, from 0 to 1.
        drop_path_rate: stochastic depth of the last block, from 0 to 1.
        pretraining_head: use the two-layer head of pre-training.

    Raises:
        ConfigError: no model has that name, or a number is out of its range.
    """
    card = describe(name, num_classes=num_classes, image_size=image_size, in_chans=in_chans)
    settings = parse(type(config(name)), card.config)
    settings = regularised(settings, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    return build(replace(card, config=dump(settings), pretraining_head=pretraining_head))


def describe(
    name: str,
    *,
    num_classes: int = 1000,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int = 3,
) -> Card:
    """Return the card of a model of a name, as `create_model` makes it.

    Raises:
        ConfigError: no model has that name, or a number is out of its range.
    """
    held = family(name)
    settings = held.VARIANTS[name]
    if num_classes < 1 or in_chans < 1:
        raise ConfigError("num_classes and in_chans are at least 1")
    size = settings.image_size if image_size is None else sides(image_size)
    return Card(
        model=name,
        config=dump(replace(settings, image_size=size, in_chans=in_chans)),
        num_classes=num_classes,
        preprocessing=preprocessing(held.PREPROCESSING, size, in_chans),
        pixels=contract(Pixels(), in_chans),
    )


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


def build(card: Card) -> Classifier:
    """Make the classifier that a card describes, with fresh weights."""
    kind = type(config(card.model))
    settings = parse(kind, card.config, where=f"the config of {card.model}")
    model = classifier(settings.build(), card.num_classes, pretraining=card.pretraining_head)
    model.card = card
    return model
