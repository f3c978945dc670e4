"""Models from files and into files: ours, timm's and transformers'."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchword import adapters, catalogue, models
from patchword.config import dump, parse, read_json
from patchword.errors import ConfigError, WeightsError, suggest
from patchword.factory import adapt, build, create_model, family, preprocessing, sides
from patchword.files import write_text
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.weights import fill, recognise
from patchword.weights.arrays import write_arrays
from patchword.weights.configs import (
    KNOWN,
    Kind,
    from_timm,
    image_size_of,
    preprocessor_from,
    preprocessor_to,
    to_timm,
)
from patchword.weights.files import read, write
from patchword.weights.google import GOOGLE

SHARDS = "model.safetensors.index.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "model.npz")
TIMM_READ = ("img_size", "in_chans", "num_classes", "global_pool")  # of timm's model_args
TIMM_HARMLESS = ("drop_rate", "proj_drop_rate", "drop_path_rate", "dynamic_img_size")
LOOSE = (  # settings in which a model may differ from the variant whose name it has
    *("drop_rate", "drop_path_rate", "norm_eps", "reduce_norm_eps", "fresh", "resample"),
    *("act", "tiling", "in_chans", "registers", "layer_scale"),
)


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
            of weights in any of their formats; or timm:NAME or torchvision:NAME for the weights
            that the library has itself.
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
    elif str(source).partition(":")[0] in adapters.LIBRARIES and not path.exists():
        tensors = adapters.trained(str(source))
        card = _card_for(tensors, str(source))
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
        files, name, root = foreign_files(model.card, format)
        known = {f.name: f for f in family(model.card.model).FORMATS}
        if name == GOOGLE and model.card.pretraining_head:
            name = f"{GOOGLE} pre-training"
        if name not in known:
            raise ConfigError(
                f"{model.card.model} is not written as {name}; {suggest(name, known)}"
            )
        tensors = known[name].save(tensors, root=root, config=model.backbone.config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_text(folder / name, json.dumps(content, indent=2) + "\n")
    if format == GOOGLE:
        write_arrays(folder / "model.npz", tensors)
    else:
        write(folder / "model.safetensors", tensors)


def foreign_files(card: Card, format: str) -> tuple[dict[str, Any], str, str | None]:
    """Return the files that another project writes beside weights, its format and its root.

    Raises:
        ConfigError: it has no such network.
    """
    names = card.classes or tuple(f"LABEL_{i}" for i in range(card.num_classes))
    if format == "timm":
        return {"config.json": to_timm(card.model, card.preprocessing, names)}, format, None
    if format != "transformers":
        return {"config.json": dump(card)}, format, None
    reasons: list[ConfigError] = []
    for kind in kinds(card.model):
        try:
            config = kind.write(card.config, names)
        except ConfigError as reason:
            reasons.append(reason)
        else:
            beside = preprocessor_to(card.preprocessing)
            files = {"config.json": config, "preprocessor_config.json": beside}
            return files, kind.format, f"{kind.model_type}."
    raise reasons[0] if reasons else ConfigError(f"transformers has no network like {card.model}")


def kinds(model: str) -> tuple[Kind, ...]:
    """Return what a model's family is called in transformers."""
    return vars(family(model)).get("CONFIGS", ())


def _read_folder(folder: Path, model: str | None) -> tuple[Card, dict[str, Tensor]]:
    found = read_json(folder / "config.json")
    tensors = _weights(folder)
    if "model_type" in found:
        return _card_of_transformers(found, folder), tensors
    if "architecture" in found:
        return _card_of_timm(found), tensors
    known = {field.name for field in fields(Card)}
    return parse(Card, {k: v for k, v in found.items() if k in known}, where="config.json"), tensors


def _weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights in a folder, which may be in several files."""
    index = folder / SHARDS
    if index.exists():
        shards = sorted({*read_json(index).get("weight_map", {}).values()})
        if any(Path(shard).name != shard for shard in shards):
            raise WeightsError(f"{index} names files outside its folder")
        return {name: t for shard in shards for name, t in read(folder / shard).items()}
    file = next((f for f in WEIGHT_FILES if (folder / f).exists()), None)
    if file is None:
        raise WeightsError(f"{folder} holds no weights; a run has them when it is finished")
    return read(folder / file)


def _card_of_transformers(found: dict[str, Any], folder: Path) -> Card:
    model_type, classes = found["model_type"], found.get("architectures") or ()
    if model_type not in KNOWN:
        raise ConfigError(f"transformers' {model_type!r} is not supported; {', '.join(KNOWN)} are")
    alike = [kind for kind in kinds(KNOWN[model_type]) if kind.model_type == model_type]
    kind = next((k for k in alike if k.architecture in classes), alike[-1])
    settings = kind.read(found)
    name = _nearest(KNOWN[model_type], settings)
    labels = found.get("id2label") or {"0": "0", "1": "1"}  # transformers' default is two
    names = tuple(labels[key] for key in sorted(labels, key=int))
    count = found.get("num_labels") or len(names)
    named = count == len(names) and names != tuple(f"LABEL_{i}" for i in range(count))
    beside = folder / "preprocessor_config.json"
    said = read_json(beside) if beside.exists() else {}
    size = settings.setdefault(
        "image_size", image_size_of(said) or [*models.config(name).image_size]
    )
    base = preprocessing(family(name).PREPROCESSING, sides(size), settings["in_chans"])
    return Card(
        model=name,
        config=settings,
        num_classes=count,
        classes=names if named else None,
        preprocessing=preprocessor_from(said, base) if said else base,
    )


def _nearest(default: str, settings: dict[str, Any]) -> str:
    """Return the family's name for settings that are one of its variants', else the default."""
    for name, variant in family(default).VARIANTS.items():
        plain = dump(variant)
        if all(plain[key] == value for key, value in settings.items() if key not in LOOSE):
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
        always = ours or any(f.knows(tensors) for f in formats)
        placed = [f for f in formats if f.placed is not None]
        for name in names:
            if always or any(f.knows(tensors, models.config(name)) for f in placed):
                yield name


def _parameters(tensors: dict[str, Tensor]) -> int:
    """Count a classifier's parameters, as if it had 1000 classes."""
    count = 0
    for name, tensor in tensors.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        if name.startswith("head.label.0."):  # only pre-training has it
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
        format_ = next((f for f in held.FORMATS if f.knows(tensors, config)), None)
        ours = format_.load(tensors, config) if format_ else tensors
        if not model and name in figures and figures[name].parameters != _parameters(ours):
            continue  # spares making it
        pretraining = "head.label.0.weight" in ours
        last = ours.get(f"head.label{'.2' if pretraining else ''}.weight")
        classes = 1000 if last is None else len(last)
        with torch.device("meta"):
            made = create_model(name, num_classes=classes, pretraining_head=pretraining)
        shapes = {key: tensor.shape for key, tensor in made.state_dict().items()}
        if made.card and shapes == {key: tensor.shape for key, tensor in ours.items()}:
            settings = format_.settings if format_ else {}
            fits.append(replace(made.card, config={**made.card.config, **settings}))
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
