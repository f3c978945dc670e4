"""What a bare file of tensors is: the model that they fit, told by names and shapes alone."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword import catalogue, heads, models
from patchword.config import dump, parse
from patchword.errors import ConfigError, WeightsError
from patchword.factory import build, describe, family, formats
from patchword.models.vit import ViTConfig
from patchword.predictor import Card
from patchword.weights import recognise
from patchword.weights.report import Report
from patchword.weights.systems import System, beside_encoder, encoder_of

CLASSES = 1000  # of a model whose file has no head


class Found(NamedTuple):
    """A card, and the tensors of its model under our names."""

    card: Card
    tensors: dict[str, Tensor]
    report: Report


def identify(tensors: Mapping[str, Tensor], model: str | None) -> Found:
    """Tell what tensors are of: a name that was given, or the one that they fit.

    Raises:
        ConfigError: they fit several models, or none; says what to name.
        WeightsError: they do not fit the name that was given.
    """
    if model in heads.index():
        return dense(tensors, model)
    encoder = encoder_of(tensors)
    if model is not None:
        ours, settings = named(encoder.tensors, model)
        fits = [_card(model, ours, encoder.system, settings)]
    else:
        ours, fits = {}, []
        for name, candidate, settings in _candidates(encoder.tensors, encoder.system):
            card = _card(name, candidate, encoder.system, settings)
            if _fits(card, candidate):
                ours, fits = candidate, [*fits, card]
    if len(fits) != 1:
        names = ", ".join(card.model for card in fits)
        raise ConfigError(
            f"the tensors fit {names}: say which with model="
            if fits
            else "the tensors fit no model that is known: say what they are with model="
        )
    (card,) = fits
    noted = [f"this is a file of {encoder.system.name}"] if encoder.system else []
    if encoder.system is None or encoder.system.statistics is None:
        noted.append(f"pixels are normalised as {card.model} expects: mean {means(card)}")
    dropped = (beside_encoder(encoder),) if encoder.dropped else ()
    return Found(card, ours, Report(dropped=dropped, noted=tuple(noted)))


def dense(tensors: Mapping[str, Tensor], model: str) -> Found:
    """Read tensors of a whole model for every pixel.

    Raises:
        WeightsError: they are in none of its formats.
    """
    card = describe(model)
    ours = pixelwise(tensors, card)
    card = replace(card, num_classes=classes_in(ours, card))
    noted = f"pixels are normalised as {model} expects: mean {means(card)}"
    return Found(card, ours, Report(noted=(noted,)))


def pixelwise(tensors: Mapping[str, Tensor], card: Card) -> dict[str, Tensor]:
    """Return the tensors of a card's model for every pixel, under our names."""
    if {name.partition(".")[0] for name in tensors} == {"backbone", "head"}:  # nobody else's are
        return dict(tensors)
    below = parse(type(models.config(card.backbone)), card.config) if card.backbone else None
    return recognise(formats(card), tensors, below).load(tensors, below)


def classes_in(ours: Mapping[str, Tensor], card: Card) -> int:
    """Tell by shapes how many classes the head of a card's model has: by what grows with them."""
    with torch.device("meta"):
        some, more = (build(replace(card, num_classes=count)).state_dict() for count in (2, 3))
    for name, tensor in some.items():
        for axis, (few, many) in enumerate(zip(tensor.shape, more[name].shape, strict=True)):
            if few != many and name in ours and few == 2:
                return ours[name].shape[axis]
    return card.num_classes


def of_library(tensors: Mapping[str, Tensor], name: str) -> tuple[Card, dict[str, Tensor]]:
    """Return the card of another library's model, and its tensors under our names."""
    ours, settings = named(tensors, name)
    return _card(name, ours, None, settings), ours


def named(
    tensors: Mapping[str, Tensor], model: str, config: Any = None
) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Return tensors of a model under our names, and the settings that their format implies.

    A head that is stored without a bias, as CLIP's projection, has a bias of zeros.

    Args:
        tensors: in whichever of its family's formats.
        model: its name.
        config: of its backbone, where it is not the name's own.
    """
    settings: Mapping[str, Any] = {}
    ours = dict(tensors)
    if not any(name.startswith("backbone.") for name in tensors):
        if config is None:
            config = family(model).VARIANTS[model]
        format_ = recognise(family(model).FORMATS, tensors, config)
        ours, settings = format_.load(tensors, config), format_.settings
    for name in [name for name in ours if name.startswith("head.") and name.endswith(".weight")]:
        if ours[name].ndim == 2:
            bias = f"{name.removesuffix('weight')}bias"
            ours.setdefault(bias, ours[name].new_zeros(len(ours[name])))
    return ours, settings


def means(card: Card) -> str:
    """Return the mean of each channel, as text."""
    return ", ".join(f"{value:.3g}" for value in card.preprocessing.mean)


def _candidates(
    tensors: Mapping[str, Tensor], system: System | None
) -> Iterator[tuple[str, dict[str, Tensor], Mapping[str, Any]]]:
    """Yield the models of every family that knows the names, and the tensors under ours."""
    known = system is not None and bool(system.settings)  # other parameters than were counted
    own = all(name.startswith(("backbone.", "head.")) for name in tensors)
    figures = catalogue.stored()
    for file in dict.fromkeys(models.index().values()):
        if system is not None and system.family not in (None, file):
            continue
        names = [name for name, home in models.index().items() if home == file]
        formats = models.family(names[0]).FORMATS
        always = own or any(f.knows(tensors) for f in formats)
        placed = [f for f in formats if f.placed is not None]
        for name in names:
            config = models.config(name)
            if not (always or any(f.knows(tensors, config) for f in placed)):
                continue
            try:
                ours, settings = named(tensors, name)
            except WeightsError:
                continue  # names that are alike, and not all there
            if not _contradicts(config, ours) and (
                name not in figures or known or _counts(ours, figures[name].parameters)
            ):
                yield name, ours, settings


def _contradicts(config: Any, ours: Mapping[str, Tensor]) -> bool:
    """Tell whether a plain transformer has another width, depth or patch than the tensors."""
    patches = ours.get("backbone.stem.patch_embed.proj.weight")
    depth = {name.split(".")[2] for name in ours if name.startswith("backbone.blocks.")}
    if not isinstance(config, ViTConfig) or patches is None:
        return False
    cut = patches.shape[-1] in (config.patch_size, 1)  # 1: convolutions cut the patches before
    return not cut or (len(patches), len(depth)) != (config.embed_dim, config.depth)


def _counts(ours: Mapping[str, Tensor], wanted: int) -> bool:
    """Tell whether parameters can be those of a model that has so many with 1000 classes.

    It spares making most of the models that others are not.
    """
    count, headless = 0, True
    for name, tensor in ours.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        if name.startswith("head.label.0."):  # only pre-training has it
            continue
        count += tensor.numel()
        if name.startswith("head."):
            headless = False
            count += (CLASSES - len(tensor)) * tensor[0].numel()
    return (wanted > count and (wanted - count) % CLASSES == 0) if headless else wanted == count


def _card(
    name: str, ours: Mapping[str, Tensor], system: System | None, settings: Mapping[str, Any]
) -> Card:
    """Describe a model with the classes that there are, and what its file's format settles."""
    heads = [t for n, t in ours.items() if n.startswith("head.") and n.endswith("weight")]
    card = replace(
        describe(name, num_classes=len(heads[-1]) if heads else CLASSES),
        pretraining_head="head.label.0.weight" in ours,
    )
    config = family(name).VARIANTS[name]
    there = {field.name for field in fields(config)}
    implied = {**settings, **(system.settings if system else {})}
    changes = {key: value for key, value in implied.items() if key in there}
    card = replace(card, config=dump(replace(config, **changes)))
    if system is not None and system.statistics is not None:
        mean, std = system.statistics
        card = replace(card, preprocessing=replace(card.preprocessing, mean=mean, std=std))
    return card


def _fits(card: Card, ours: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors are those of a card's model, which may lack its head."""
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in build(card).state_dict().items()}
    if not any(name.startswith("head.") for name in ours):
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("head.")}
    return shapes == {key: tensor.shape for key, tensor in ours.items()}
