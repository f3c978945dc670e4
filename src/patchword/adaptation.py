"""Models adapted to other images and classes, in one step that says what became of each tensor."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from patchword.config import dump
from patchword.errors import ConfigError
from patchword.factory import Model, build, config, contract, preprocessing, sides
from patchword.heads.classify import Classifier, LinearHead
from patchword.layers import Fitted
from patchword.predictor import Card
from patchword.weights import fill
from patchword.weights.report import Report, summed
from patchword.weights.resize import PatchResample, recoloured, resized

SAME = ("depth", "embed_dim", "num_heads", "mlp_ratio")  # in whatever sizes a network comes


def adapt(
    model: Model,
    *,
    name: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    patch_resample: PatchResample = "pseudoinverse",
) -> tuple[Model, Report]:
    """Return a model for other images or classes, and what became of its tensors.

    Args:
        model: is left as it is.
        name: of the same network at other sizes, as in swin_base_patch4_window12_384 where the
            model is swin_base_patch4_window7_224: its windows and its image size are taken.
        image_size: a side, or rows and columns, in pixels; what is not said stays.
        patch_size: side of a patch in pixels, for networks that cut images into patches.
        in_chans: channels of an image. Kernels are added up for one, else repeated and scaled.
        num_classes: another number makes a fresh head; of one for every pixel, its last layers.
        classes: names of the classes, by index. Where the model has names too, the head's rows
            of equal ones are kept.
        patch_resample: how the patches' kernel is read at another size.

    Raises:
        ConfigError: a number is out of its range, the family cannot be changed so, or another
            network has that name.
    """
    if model.card is None:
        raise ConfigError("this model has no card: make it with create_model, or load it")
    if classes is not None and num_classes not in (None, len(classes)):
        raise ConfigError(f"{len(classes)} classes are named, and num_classes is {num_classes}")
    count = model.card.num_classes if num_classes is None else num_classes
    named = model.card.classes if count == model.card.num_classes else None
    names = named if classes is None else tuple(classes)
    card = _changed(_named(model.card, name), image_size, patch_size, in_chans)
    card = replace(card, num_classes=len(classes) if classes is not None else count, classes=names)
    if card == model.card:
        return model, Report(kept=len(model.state_dict()))
    card = replace(card, pretraining_head=card.pretraining_head and _same_rows(card, model.card))
    made = build(card)
    report = _moved(model, made, patch_resample)
    about = [*card.provenance.get("adapted", []), *report.lines]
    made.card = replace(card, provenance={**card.provenance, "adapted": about})
    return made, report


def _named(card: Card, name: str | None) -> Card:
    """Return the card of the same network under another name: its sizes, and the own colours."""
    if name is None:
        return card
    other = config(name)
    if not isinstance(other, type(config(card.model))):
        raise ConfigError(f"{card.model} cannot be made {name}: it is of another family")
    settings = dump(other)
    for key in SAME:
        if settings.get(key) != card.config.get(key):
            raise ConfigError(f"{card.model} cannot be made {name}: its {key} is another")
    frame = preprocessing(card.preprocessing, other.image_size, len(card.preprocessing.mean))
    return replace(card, model=name, config=settings, preprocessing=frame)


def _changed(
    card: Card,
    image_size: int | tuple[int, int] | None,
    patch_size: int | None,
    in_chans: int | None,
) -> Card:
    """Return the card with other settings for images."""
    size = card.preprocessing.image_size if image_size is None else sides(image_size)
    channels = len(card.preprocessing.mean) if in_chans is None else in_chans
    if channels < 1 or (patch_size is not None and patch_size < 1):
        raise ConfigError("in_chans and patch_size are at least 1")
    settings: dict[str, Any] = {**card.config, "image_size": list(size), "in_chans": channels}
    if patch_size is not None:
        if not isinstance(settings.get("patch_size"), int):
            raise ConfigError(f"{card.model} has no single patch_size; leave it out")
        settings["patch_size"] = patch_size
    same = (size, channels) == (card.preprocessing.image_size, len(card.preprocessing.mean))
    base = card.preprocessing
    return replace(
        card,
        config=settings,
        preprocessing=base if same else preprocessing(base, size, channels),
        pixels=card.pixels if channels == len(base.mean) else contract(card.pixels, channels),
    )


def _same_rows(card: Card, old: Card) -> bool:
    """Tell whether the head's rows are about the same classes, as far as these have names."""
    same = card.num_classes == old.num_classes
    return same and (old.classes is None or card.classes == old.classes)


def put_under(trained: Model, made: Model) -> Report:
    """Fill the backbone of a model with that of another, for images of its own size.

    Args:
        trained: is left as it is.
        made: on a backbone of the same name; is changed in place.
    """
    return _moved(trained, made, "pseudoinverse")


@torch.no_grad()
def _moved(old: Model, made: Model, how: PatchResample) -> Report:
    """Fill a model with the tensors of another form of it."""
    tensors, before = made.state_dict(), old.state_dict()
    resampled, parts = [], dict(old.named_modules())
    fitted: set[str] = set()
    for name, part in made.named_modules():
        other = parts.get(name)
        if isinstance(part, Fitted) and isinstance(other, Fitted) and (words := part.refit(other)):
            own = {key: f"{name}.{key}" for key, _ in part.named_parameters()}
            fitted |= {*own.values()}
            sizes = [_size([m[n] for n in own.values()]) for m in (before, made.state_dict())]
            resampled.append(f"{name}: {words}; {_grown(*sizes)}")
    new, dropped, rows = _heads(old, made, tensors)
    missing = tuple(key for key in tensors if key not in before and not key.startswith("head."))
    if missing:
        raise ConfigError(f"another network is wanted: this one has no {summed(missing)}")
    for name, tensor in before.items():
        if name in fitted or name in rows or name not in tensors:
            continue
        if tensor.shape != tensors[name].shape:
            found = _kernel(name, tensor, tensors[name].shape, how)
            words = f"kernel from {_shape(tensor)} to {_shape(found)}"
            resampled.append(f"{name}: {words}; {_grown(_size([tensor]), _size([found]))}")
            tensors[name] = found
        else:
            tensors[name] = tensor
    fill(made, tensors)
    gone = tuple(name for name in before if name not in tensors)
    dropped += [summed(gone)] if gone else []
    kept = sum(
        n in tensors and torch.equal(t, tensors[n]) for n, t in before.items() if n not in fitted
    )
    return Report(kept=kept, resampled=tuple(resampled), new=tuple(new), dropped=tuple(dropped))


def _kernel(name: str, old: Tensor, shape: torch.Size, how: PatchResample) -> Tensor:
    """Return a convolution's kernel for other channels, patches or both."""
    plain = old.ndim == 4 and len(shape) == 4 and len(old) == shape[0]
    if not plain:
        raise ConfigError(f"{name} cannot be made {tuple(shape)} from {tuple(old.shape)}")
    return resized(recoloured(old, shape[1]), (shape[2], shape[3]), how)


def _heads(
    old: Model, made: Model, tensors: dict[str, Tensor]
) -> tuple[list[str], list[str], set[str]]:
    """Keep the rows of classes that both models name; say what is new and what is dropped.

    Returns:
        what is new, what is dropped, and the tensors that need nothing more.
    """
    assert old.card is not None and made.card is not None
    if _same_rows(made.card, old.card):
        return [], [], set()
    if not isinstance(made, Classifier):  # rows of pixels' scores lie in tensors of many forms
        before = old.state_dict()
        fresh = (n for n, t in tensors.items() if n in before and before[n].shape != t.shape)
        of_head = tuple(name for name in fresh if name.startswith("head."))
        if not isinstance(old, Classifier):
            words = f"the head's scores of {made.card.num_classes} classes: {summed(of_head)}"
            return [words], [f"those of {old.card.num_classes} classes"], {*of_head}
        return [f"the head {made.card.model}"], [], set()
    theirs, ours = old.card.classes or (), made.card.classes or ()
    kept = [(i, theirs.index(name)) for i, name in enumerate(ours) if name in theirs]
    settled: set[str] = set()
    for name, part in made.head.named_modules():
        if isinstance(part, LinearHead):
            for kind in ("weight", "bias"):
                key = f"head.{name}.{kind}"
                settled.add(key)
                for i, j in kept if not old.card.pretraining_head else []:
                    tensors[key][i] = old.state_dict()[key][j]
    if not kept:
        return (
            [f"the head of {made.card.num_classes} classes"],
            [f"the head of {old.card.num_classes} classes"],
            settled,
        )
    lost, fresh = len(theirs) - len(kept), len(ours) - len(kept)
    new = [f"{fresh} of the head's {len(ours)} rows; {len(kept)} are of classes of equal names"]
    return new if fresh else [], [f"{lost} of the head's rows"] if lost else [], settled


def _size(tensors: list[Tensor]) -> float:
    return torch.cat([tensor.flatten() for tensor in tensors]).square().mean().sqrt().item()


def _grown(before: float, after: float) -> str:
    return f"root mean square {before:.4g} -> {after:.4g}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape[1:]))
