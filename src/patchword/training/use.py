"""A trained model at work: scores on labelled pictures, answers for others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path

import numpy as np
import torch

from patchword.checkpoints import load
from patchword.data import Source, open_data
from patchword.engine.devices import device as named_device
from patchword.errors import ConfigError, DataError, ImageError
from patchword.evaluation.topk import TopK, topk
from patchword.heads.classify import Classifier
from patchword.predictor import Answer, Card
from patchword.training.choose import held_out, left_out
from patchword.training.feed import scores
from patchword.training.settings import stored

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
BATCH = 64


def evaluate(run: Path, *, data: str | None, split: str, device: str) -> TopK:
    """Score a model; the class index is the model's, whatever the order of the data's folders."""
    model = load(run).to(named_device(device))
    card = model.card
    assert card is not None
    settings = stored(run) if (run / "config.json").exists() else None
    where = data or (settings.request.data if settings else None)
    if where is None:
        raise ConfigError(f"{run} does not say what it was trained on: name --data")
    opened = open_data(where, pixels=card.pixels, seed=settings.request.seed if settings else 0)
    if settings and data is None:
        opened, _ = left_out(opened, settings.request)
        opened, _ = held_out(opened, settings.request)
    splits = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    name = (
        split if split != "auto" else next(n for n in ("test", "validation", "train") if splits[n])
    )
    source = splits[name]
    if source is None:
        raise DataError(
            f"{where} has no {name} pictures; it has: {', '.join(n for n in splits if splits[n])}"
        )
    found = scores(model, source, card.preprocessing)
    labels = relabelled(found.labels, source, card)
    return replace(topk(found.logits, labels), unreadable=found.unreadable, split=name)


def relabelled(labels: torch.Tensor, source: Source, card: Card) -> torch.Tensor:
    """Return labels as the model numbers them.

    Raises:
        DataError: the data has classes that the model does not know.
    """
    if card.classes is None or card.classes == source.classes:
        return labels
    strange = [name for name in source.classes if name not in card.classes]
    if strange:
        raise DataError(
            f"the model does not know the classes {', '.join(strange[:8])}; "
            f"it knows {', '.join(card.classes[:8])}{', ...' if len(card.classes) > 8 else ''}"
        )
    numbers = np.array([card.classes.index(name) for name in source.classes])
    return torch.from_numpy(numbers)[labels]


def files(patterns: Sequence[str]) -> list[str]:
    """Find the pictures that files, folders and globs name, each once, in order.

    Raises:
        DataError: one of them is nothing, or a folder without pictures.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES]
        elif path.exists():
            inside = [pattern]
        else:
            inside = sorted(glob(pattern, recursive=True)) if has_magic(pattern) else []
        if not inside:
            raise DataError(f"{pattern}: no picture is there")
        found |= dict.fromkeys(inside)
    if not found:
        raise DataError("no picture was named: give files, folders or globs")
    return list(found)


def predictions(
    run: Path, patterns: Sequence[str], *, top: int, device: str
) -> Iterator[tuple[str, Answer | None, str | None]]:
    """Yield each picture's file, with the model's answer or the reason that there is none."""
    names = files(patterns)
    model: Classifier = load(run).to(named_device(device))
    predictor = model.predictor()
    for start in range(0, len(names), BATCH):
        pixels: dict[str, torch.Tensor] = {}
        errors: dict[str, str] = {}
        for name in names[start : start + BATCH]:
            try:
                pixels[name] = predictor.pixels(name)
            except ImageError as error:
                errors[name] = str(error)
        answers = dict(
            zip(
                pixels,
                predictor.answers(list(pixels.values()), top=top) if pixels else [],
                strict=True,
            )
        )
        for name in names[start : start + BATCH]:
            yield name, answers.get(name), errors.get(name)
