"""Models from files and into files: ours, timm's and transformers'."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchword import catalogue, models
from patchword.config import dump, parse, read_json
from patchword.errors import ConfigError, WeightsError, suggest
from patchword.factory import adapt, build, create_model, family, preprocessing, sides
from patchword.files import write_text
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.weights import fill, recognise
from patchword.weights.configs import (
    from_timm,
    from_transformers,
    preprocessor_from,
    preprocessor_to,
    to_timm,
    to_transformers,
)
from patchword.weights.files import read, write

SHARDS = "model.safetensors.index.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
TIMM_READ = ("img_size", "in_chans", "num_classes", "global_pool")  # of timm's model_args
TIMM_HARMLESS = ("drop_rate", "proj_drop_rate", "drop_path_rate", "dynamic_img_size")
IDENTITY = ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "prefix")  # of a variant


def load(
    source: str | Path,
    *,
    model: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
) -> Classifier:
    """Load a trained classifier.

    Args:
        source: a run, a folder that holds a model of ours, of timm or of transformers, or a file
            of weights in any of their formats.
        model: its name, where neither the folder nor the shapes of the tensors say it.
        image_size: adapt it to images of this size.
        num_classes: give it a fresh head of so many classes, where that is another number.

    Raises:
        WeightsError: there are no weights, or they do not fit.
        ConfigError: what they are weights of cannot be told.
    """
    path = Path(source)
    if path.is_dir():
        card, tensors = _read_folder(path, model)
    else:
        tensors = read(path)
        card = _card_for(tensors, model)
    loaded = build(card)
    if loaded.state_dict().keys() != tensors.keys():
        formats, config = family(card.model).FORMATS, loaded.backbone.config
        tensors = recognise(formats, tensors, config).load(tensors, config)
    fill(loaded, tensors)
    adapted, _ = adapt(loaded, image_size=image_size, num_classes=num_classes)
    return adapted.eval()


def save(
    model: Classifier,
    folder: str | Path,
    *,
    format: str = "patchword",  # the word
) -> None:
    """Write a classifier into a folder: `model.safetensors`, and `config.json` beside it.

    Args:
        model: as trained or loaded.
        folder: is made where it is missing.
        format: ours; timm or transformers, with their config beside the weights; or another
            that the family is written in, such as its authors'.

    Raises:
        ConfigError: the model has no card, or its family is not in that format.
    """
    if model.card is None:
        raise ConfigError("this model has no card: make it with create_model, or load it")
    folder, tensors = Path(folder), model.state_dict()
    if format == "patchword":
        files = {"config.json": dump(model.card)}
    else:
        distilled = "distillation" in model.backbone.readouts
        files = foreign_files(model.card, format, distilled=distilled)
        name = f"{format} distilled" if distilled and format == "transformers" else format
        known = {f.name: f for f in family(model.card.model).FORMATS}
        if name not in known:
            raise ConfigError(
                f"{model.card.model} is not written as {name}; {suggest(name, known)}"
            )
        tensors = known[name].save(tensors, config=model.backbone.config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_text(folder / name, json.dumps(content, indent=2) + "\n")
    write(folder / "model.safetensors", tensors)


def foreign_files(card: Card, format: str, *, distilled: bool) -> dict[str, Any]:
    """Return the files that another project writes beside weights, by name."""
    names = card.classes or tuple(f"LABEL_{i}" for i in range(card.num_classes))
    if format == "timm":
        return {"config.json": to_timm(card.model, card.preprocessing, names)}
    if format != "transformers":
        return {}
    return {
        "config.json": to_transformers(card.config, names, distilled=distilled),
        "preprocessor_config.json": preprocessor_to(card.preprocessing),
    }


def _read_folder(folder: Path, model: str | None) -> tuple[Card, dict[str, Tensor]]:
    found = read_json(folder / "config.json")
    if (folder / SHARDS).exists():
        raise WeightsError(
            f"{folder} holds sharded weights; join them into model.safetensors first"
        )
    file = next((f for f in WEIGHT_FILES if (folder / f).exists()), None)
    if file is None:
        raise WeightsError(f"{folder} holds no weights; a run has them when it is finished")
    tensors = read(folder / file)
    if "model_type" in found:
        return _card_of_transformers(found, folder), tensors
    if "architecture" in found:
        return _card_of_timm(found), tensors
    known = {field.name for field in fields(Card)}
    return parse(Card, {k: v for k, v in found.items() if k in known}, where="config.json"), tensors


def _card_of_transformers(found: dict[str, Any], folder: Path) -> Card:
    kind = {"vit": "vit_base_patch16_224", "deit": "deit_base_patch16_224"}
    if found["model_type"] not in kind:
        raise ConfigError(
            f"transformers' {found['model_type']!r} is not supported; {', '.join(kind)} are"
        )
    settings = from_transformers(found)
    name = _nearest(kind[found["model_type"]], settings)
    labels = found.get("id2label") or {"0": "0", "1": "1"}  # transformers' default is two
    classes = tuple(labels[key] for key in sorted(labels, key=int))
    named = not all(label == f"LABEL_{i}" for i, label in enumerate(classes))
    rows, columns = settings["image_size"]
    base = preprocessing(models.family(name).PREPROCESSING, (rows, columns), settings["in_chans"])
    beside = folder / "preprocessor_config.json"
    return Card(
        model=name,
        config=settings,
        num_classes=len(classes),
        classes=classes if named else None,
        preprocessing=preprocessor_from(read_json(beside), base) if beside.exists() else base,
    )


def _nearest(default: str, settings: dict[str, Any]) -> str:
    """Return the family's name for settings that are one of its variants', else the default."""
    for name, config in models.family(default).VARIANTS.items():
        plain = dump(config)
        if all(plain[key] == settings.get(key, plain[key]) for key in IDENTITY):
            return name
    return default


def _card_of_timm(found: dict[str, Any]) -> Card:
    name = found["architecture"]
    config = models.config(name)
    arguments = found.get("model_args", {})
    for setting in arguments.keys() - {*TIMM_READ, *TIMM_HARMLESS}:
        raise ConfigError(
            f"config.json: model_args {setting!r} makes another network than {name}; it is not "
            f"supported"
        )
    pool = {"token": "token", "mean": "avg"}[config.pool]
    if found.get("global_pool", pool) != pool:
        raise ConfigError(
            f"config.json: global_pool is {found['global_pool']!r}; {name} is read by {pool!r}"
        )
    size = arguments.get("img_size", config.image_size)
    classes = found.get("label_names") or ()
    if isinstance(classes, dict):  # by index, as a string
        classes = [classes[key] for key in sorted(classes, key=int)]
    config = replace(config, image_size=sides(size), in_chans=arguments.get("in_chans", 3))
    base = preprocessing(models.family(name).PREPROCESSING, config.image_size, config.in_chans)
    return Card(
        model=name,
        config=dump(config),
        num_classes=found.get("num_classes", 1000),
        classes=tuple(classes) or None,
        preprocessing=from_timm(found.get("pretrained_cfg", {}), base),
    )


def _candidates(tensors: dict[str, Tensor]) -> Iterator[str]:
    """Name the models of every family that knows the tensors' names."""
    ours = all(name.startswith(("backbone.", "head.")) for name in tensors)
    for file in dict.fromkeys(models.index().values()):
        names = [name for name, home in models.index().items() if home == file]
        formats = models.family(names[0]).FORMATS
        for name in names:
            if ours or any(f.knows(tensors, models.config(name)) for f in formats):
                yield name


def _parameters(tensors: dict[str, Tensor]) -> int:
    """Count a classifier's parameters, as if it had 1000 classes."""
    count = 0
    for name, tensor in tensors.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        count += tensor.numel()
        if name.startswith("head."):
            count += (1000 - len(tensor)) * tensor[0].numel()
    return count


def _card_for(tensors: dict[str, Tensor], model: str | None) -> Card:
    """Describe the tensors of a bare file: a name that was given, or the one that they fit."""
    fits: list[Card] = []
    figures = catalogue.stored()
    for name in [model] if model else _candidates(tensors):
        held = family(name)
        config = held.VARIANTS[name]
        known = [f.load(tensors, config) for f in held.FORMATS if f.knows(tensors, config)]
        ours = known[0] if known else tensors
        if not model and name in figures and figures[name].parameters != _parameters(ours):
            continue  # spares making it
        classes = ours["head.label.weight"].shape[0] if "head.label.weight" in ours else 1000
        with torch.device("meta"):
            made = create_model(name, num_classes=classes)
        shapes = {key: tensor.shape for key, tensor in made.state_dict().items()}
        if made.card and shapes == {key: tensor.shape for key, tensor in ours.items()}:
            fits.append(made.card)
        elif model:
            fill(made, ours)  # says what does not fit
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(card.model for card in fits)
    raise ConfigError(
        f"the tensors fit {names}: say which with model="
        if fits
        else "the tensors fit no model that is known: say what they are with model="
    )
