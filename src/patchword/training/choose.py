"""Look at the data, and choose what was left open."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from patchword.config import dump, parse
from patchword.data import Census, Data, Frame, Pixels, Source, Subset, frame, look, open_data
from patchword.data.loader import cores
from patchword.data.quarantine import leave_out
from patchword.data.scenes import KINDS
from patchword.data.source import cache, hold_out
from patchword.engine.devices import device
from patchword.errors import ConfigError, DataError, ImageError, ShapeError
from patchword.factory import build, config, describe, regularised, sides, with_token
from patchword.predictor import Card
from patchword.recipes.pick import Found, Pick, pick
from patchword.recipes.recipe import Recipe
from patchword.training.headed import fresh_norms, whole
from patchword.training.little import noted
from patchword.training.objectives import fitting
from patchword.training.pixelwise import named, pixelwise
from patchword.training.prescribe import prescribed
from patchword.training.pseudo import Labelled, self_taught
from patchword.training.settings import Request, contract
from patchword.training.start import Start, adapted, restored
from patchword.training.targets import scale_of
from patchword.training.teacher import Teacher, load_teacher

GREY = ("1", "L", "LA", "I;16", "I;16B", "I", "F")  # Pillow's modes without colour


@dataclass(frozen=True)
class Chosen:
    """All that is settled before anything is measured on the machine."""

    data: Data
    census: Census
    card: Card  # of the model that will be trained
    recipe: Recipe
    workers: int
    reasons: tuple[str, ...]  # what was picked and assumed, a sentence each
    teacher: Teacher | None = None  # whom the student learns from view by view
    start: Start | None = None
    labelled: Labelled | None = None  # what a teacher said of further pictures


def choose(request: Request) -> Chosen:
    """Open the data of a request and settle model, image size, recipe and workers.

    Raises:
        DataError: there is no data that is understood.
        ConfigError: a name is not known.
        ShapeError: the model cannot read images of that size.
    """
    start = restored(request)
    pixels = contract(start.card.pixels if start else Pixels(), request)
    data, left = left_out(opened(request, pixels), request)
    census = look(data)
    if census.train.median is None:
        raise DataError(f"no picture of {request.data} can be read: {census.train.unreadable[0]}")
    channels = _channels(request, pixels, census, start)
    if channels != pixels.channels:
        pixels = replace(pixels, channels=channels)
        data, _ = left_out(opened(request, pixels), request)
    data, held = held_out(data, request)
    found = Found(
        pictures=len(data.train),
        size=census.train.median,
        same_size=census.train.smallest == census.train.largest,
        grey=is_grey(census),
        accelerator=device(request.device).type != "cpu",
        kind=data.train.kind,
        minutes=request.minutes,
        asked=request.image_size,
    )
    picked = pick(found)
    recipe, reasons = prescribed(request, _name(request, found, picked, start), found, picked)
    recipe, changes = fitting(data.train, recipe)
    workers = _workers(request, found, data)
    card, start = _described(request, picked, pixels, data, recipe, start)
    card, recipe, fitted = whole(card, recipe)
    fitted = fitted if start is not None else (*fitted, *fresh_norms(card))
    tried(card)
    resized(card, recipe)
    teacher, taught = _teacher(request, recipe, data, pixels.channels)
    words = (*taught, *noted(data, recipe))
    data, labelled = self_taught(request, recipe, data, pixels)
    words = (*words, *(labelled.words if labelled else ()))
    reasons = (*data.notes, *left, *held, *reasons, *changes, *fitted, *words)
    return Chosen(data, census, card, recipe, workers, reasons, teacher, start, labelled)


def _name(request: Request, found: Found, picked: Pick, start: Start | None) -> str:
    if found.kind in KINDS:
        return named(request, picked, found.kind, start)
    labelled_only(request)
    return request.model or (start.card.model if start else picked.model)


def _described(
    request: Request,
    picked: Pick,
    pixels: Pixels,
    data: Data,
    recipe: Recipe,
    start: Start | None,
) -> tuple[Card, Start | None]:
    """Return the card of the model, and what is started from as adapted to it."""
    size = request.image_size or recipe.image_size or _last(recipe)
    request, source = replace(request, image_size=size), data.train
    if source.kind in KINDS:
        card, start = pixelwise(request, picked, pixels, source, recipe, start)
    elif start is None:
        card = _card(request, picked, pixels, data, recipe)
    else:
        start = adapted(start, request, source)
        card = start.card
    card = replace(card, kind=source.kind, scale=scale_of(source), ids=data.ids, pixels=pixels)
    return _regularised(card, recipe), start


def is_grey(census: Census) -> bool:
    """Tell whether the training pictures have no colour."""
    return all(mode in GREY for mode, _ in census.train.modes)


def _channels(request: Request, pixels: Pixels, census: Census, start: Start | None) -> int:
    """Read what a trained model reads; else one channel of grey pictures, if no other is said."""
    if start is not None:
        return len(start.card.preprocessing.mean)
    said = any(s.startswith(("pixels.channels=", "pixels.bands=")) for s in request.settings)
    return 1 if is_grey(census) and not said else pixels.channels


def opened(request: Request, pixels: Pixels) -> Data:
    """Open the data of a request; errors as `open_data`."""
    return open_data(request.place, pixels=pixels, seed=request.views, columns=request.columns)


def labelled_only(request: Request) -> None:
    """Refuse what only scenes have a use for.

    Raises:
        ConfigError: it was asked for.
    """
    if request.backbone is not None:
        raise ConfigError(
            f"--backbone {request.backbone} is for heads that answer place by place, and the data "
            "has no scenes; name it with --model"
        )


def left_out(data: Data, request: Request) -> tuple[Data, tuple[str, ...]]:
    """Leave out the pictures of a quarantine, where one is given, and say so."""
    if request.quarantine is None:
        return data, ()
    data, lost = leave_out(data, Path(request.quarantine))
    each = ", ".join(f"{count:,} of {split}" for split, count in lost.items() if count)
    words = f"{each or 'no picture'} left out, as {request.quarantine} says (--quarantine)"
    return data, (words,)


def held_out(data: Data, request: Request) -> tuple[Data, tuple[str, ...]]:
    """Hold a share of the training pictures out, where that is asked for, and say so."""
    if request.holdout is None:
        return data, ()
    if not 0 < request.holdout < 1:
        raise DataError(f"--holdout is {request.holdout}; wanted: a share between 0 and 1")
    kept, held = hold_out(data.train.labels, share=request.holdout, seed=request.views)
    train, validation = Subset(data.train, kept), Subset(data.train, held)
    words = f"{len(held):,} training pictures are held out as validation pictures (--holdout)"
    return replace(data, train=train, validation=validation), (words,)


def _teacher(
    request: Request, recipe: Recipe, data: Data, channels: int
) -> tuple[Teacher | None, tuple[str, ...]]:
    how = recipe.distillation
    if request.teacher is None or how is None:
        return None, ()
    teacher = load_teacher(request.teacher, data.train.classes, channels)
    default = "" if request.distill else " (--distill was not said)"
    words = f"{how.kind} distillation{default}, {how.weight:g} of the loss is the teacher's"
    return teacher, (words, f"the teacher: {teacher.words}")


def _workers(request: Request, found: Found, data: Data) -> int:
    """Small pictures are made by a thread, photos by processes, one core left for the training."""
    if request.workers is not None:
        return request.workers
    small = found.same_size and max(found.size) <= 64
    return 0 if small else max(min(cores() - 1, 8), 0)


def _card(request: Request, picked: Pick, pixels: Pixels, data: Data, recipe: Recipe) -> Card:
    name = request.model or picked.model
    own = picked.image_size if request.model is None else None
    card = describe(
        with_token(name) if request.token else name,
        num_classes=len(data.train.classes),
        image_size=request.image_size or own,
        in_chans=pixels.channels,
    )
    base = card.preprocessing
    if recipe.name == "tiny":
        base = measured(data.train, base)
    return replace(card, classes=data.train.classes, preprocessing=base)


def _last(recipe: Recipe) -> tuple[int, int] | None:
    return sides(recipe.resolution[-1][1]) if recipe.resolution else None


def _regularised(card: Card, recipe: Recipe) -> Card:
    settings = parse(type(config(card.backbone or card.model)), card.config)
    drops = {"drop_rate": recipe.drop_rate, "drop_path_rate": recipe.drop_path_rate}
    return replace(card, config=dump(regularised(settings, **drops)))


def tried(card: Card) -> None:
    """Make sure that a network can read its images, before anything is written or measured.

    Raises:
        ShapeError: it cannot.
    """
    _look(card, card.preprocessing.image_size)


def resized(card: Card, recipe: Recipe) -> None:
    """Make sure that a network can read the other sizes that a recipe shows it.

    Raises:
        ConfigError: it cannot.
    """
    for _, side in recipe.resolution:
        try:
            _look(card, (side, side))
        except ShapeError as error:
            raise ConfigError(f"resolution: {card.model} cannot change size: {error}") from None


def _look(card: Card, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        build(card).eval()(torch.empty(1, len(card.preprocessing.mean), *size))


def measured(source: Source, base: Frame, limit: int = 1000) -> Frame:
    """Return the frame with the mean and deviation of some training pictures' pixels."""
    sums: list[torch.Tensor] = []
    for index in np.linspace(0, len(source) - 1, min(limit, len(source))).astype(int).tolist():
        try:
            image = frame(source.read(index), base).double().flatten(1) / 255
        except ImageError:
            continue
        sums.append(torch.stack([image.mean(dim=1), image.square().mean(dim=1)]))
    mean, square = torch.stack(sums).mean(dim=0)
    std = (square - mean.square()).clamp(min=1e-4).sqrt()
    rounded = [tuple(round(value, 4) for value in values.tolist()) for values in (mean, std)]
    return replace(base, mean=rounded[0], std=rounded[1])


def in_memory(data: Data) -> Data:
    """Decode small data sets once."""
    return replace(
        data,
        train=cache(data.train),
        validation=data.validation and cache(data.validation),
        test=data.test and cache(data.test),
    )
