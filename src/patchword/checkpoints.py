"""Models from files: ours, timm's, transformers' and their authors'."""

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from patchword import adapters, models
from patchword.adaptation import adapt
from patchword.config import dump, parse, read_json
from patchword.data.pixels import Pixels
from patchword.data.terms import Terms, stated
from patchword.errors import ConfigError, WeightsError
from patchword.factory import Model, build, contract, family, preprocessing, sides
from patchword.identify import identify, named, of_library, pixelwise
from patchword.lineage import Origin, taken
from patchword.predictor import Card
from patchword.weights import fill
from patchword.weights.configs import (
    KNOWN,
    Kind,
    from_timm,
    image_size_of,
    preprocessor_from,
)
from patchword.weights.files import opened, read
from patchword.weights.hub import hub_id, snapshot
from patchword.weights.report import Report, oddities, refuse_other_types
from patchword.weights.systems import beside_encoder, encoder_of

LOG = logging.getLogger("patchword")
WEIGHT_FILES = (
    *("model.safetensors", "pytorch_model.bin", "model.npz"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
UNCONVERTED = Pixels(profile="ignore")  # others learn from Pillow's convert, which knows none
TIMM_READ = ("img_size", "in_chans", "num_classes", "global_pool")  # of timm's model_args
TIMM_HARMLESS = ("drop_rate", "proj_drop_rate", "drop_path_rate", "dynamic_img_size")
LOOSE = (  # settings in which a model may differ from the variant whose name it has
    *("drop_rate", "drop_path_rate", "norm_eps", "reduce_norm_eps", "fresh", "resample"),
    *("act", "tiling", "in_chans", "registers", "layer_scale", "pool"),
)


def load(
    source: str | Path,
    *,
    model: str | None = None,
    part: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
) -> Model:
    """Load a trained model.

    What was left aside, made new, resampled or assumed is logged, and stands in the card's
    provenance.

    Args:
        source: a run, a folder that holds a model of ours, of timm or of transformers, or a file
            of weights in any of their formats, or in that of those who pre-train: MAE, DINO,
            MoCo, BEiT, CLIP; timm:NAME or torchvision:NAME for the weights that the library has
            itself; or a model on the Hub, "hf:ORG/NAME", "hf:ORG/NAME@REVISION" or "timm/NAME",
            of which a kept copy is taken without asking the network.
        model: its name, where neither the folder nor the shapes of the tensors say it.
        part: which network of a file that holds several, as in "student".
        image_size: adapt it to images of this size, as `adapt` does; so with what follows.
        patch_size: and to patches of this size.
        in_chans: and to images of so many channels.
        num_classes: and to so many classes, with a fresh head where that is another number.
        classes: and to classes of these names, which keeps the rows of those that it has.

    Raises:
        WeightsError: there are no weights, or they do not fit.
        ConfigError: what they are weights of cannot be told.
    """
    loaded, report = restore(source, model, part)
    adapted, changes = adapt(
        loaded,
        image_size=image_size,
        patch_size=patch_size,
        in_chans=in_chans,
        num_classes=num_classes,
        classes=classes,
    )
    for line in (*report.lines, *changes.lines):
        LOG.warning("%s: %s", source, line)
    return adapted.eval()


def restore(source: str | Path, model: str | None, part: str | None) -> tuple[Model, Report]:
    """Return a model as it was saved, and what is to be said of it."""
    found_at = hub_id(str(source))
    if found_at is None or Path(source).exists():
        return _restored(source, model, part, Origin(str(source)))
    kept = snapshot(found_at)
    origin = Origin(f"hf:{found_at.repository}", kept.commit, stated(kept.folder))
    return _restored(folder_or_file(kept.folder), model, part, origin)


def _restored(
    source: str | Path, model: str | None, part: str | None, origin: Origin
) -> tuple[Model, Report]:
    path, ours, own_names = Path(source), False, False
    report = Report()
    if path.is_dir():
        card, tensors, ours = _read_folder(path, model)
        origin = origin if origin.revision else origin._replace(terms=stated(path))
        loaded = build(card)
        if loaded.state_dict().keys() != tensors.keys():
            encoder = encoder_of(tensors)
            if card.head is None and encoder.dropped:
                report = replace(report, dropped=(beside_encoder(encoder),))
            tensors = (
                named(encoder.tensors, card.model, loaded.backbone.config)[0]
                if card.head is None
                else pixelwise(tensors, card)
            )
    elif str(source).partition(":")[0] in adapters.LIBRARIES and not path.exists():
        card, tensors = of_library(adapters.trained(str(source)), str(source))
        origin = origin._replace(terms=Terms(*adapters.terms(str(source))))
        loaded = build(card)
    else:
        found, beside = opened(path, part)
        card, tensors, report = identify(found, model)
        own_names = all(name.startswith(("backbone.", "head.")) for name in found)
        loaded = build(card)
        if beside:
            rest = (f"{', '.join(beside)}: other networks in the file (part= reads them)",)
            report = replace(report, dropped=(*rest, *report.dropped))
    fresh = [] if any(name.startswith("head.") for name in tensors) else ["head."]
    if fresh:
        words = f"the head of {card.num_classes} classes: the weights have none"
        report = replace(report, new=(words, *report.new))
    refuse_other_types(tensors, loaded.state_dict())
    fill(loaded, tensors, fresh=fresh)
    report = replace(report, kept=len(tensors), noted=(*report.noted, *oddities(tensors)))
    if report.lines:
        card = replace(card, provenance={**card.provenance, "weights": report.lines})
    if not ours and not own_names:
        card = replace(card, pixels=contract(UNCONVERTED, len(card.preprocessing.mean)))
    loaded.card = card if ours and not origin.revision else taken(card, origin)
    return loaded, report


def folder_or_file(folder: Path) -> Path:
    """Return a folder with a config that is read; of others, the weights in it."""
    about = folder / "config.json"
    if about.exists() and read_json(about).keys() & {"model_type", "architecture", "model"}:
        return folder
    files = (*WEIGHT_FILES, "open_clip_model.safetensors")
    return next((folder / name for name in files if (folder / name).exists()), folder)


def _read_folder(folder: Path, model: str | None) -> tuple[Card, dict[str, Tensor], bool]:
    """Return a card, tensors, and whether the card is ours."""
    found = read_json(folder / "config.json")
    file = next((f for f in WEIGHT_FILES if (folder / f).exists()), None)
    if file is None:
        raise WeightsError(f"{folder} holds no weights; a run has them when it is finished")
    tensors = read(folder / file)
    if "model_type" in found:
        return _card_of_transformers(found, folder), tensors, False
    if "architecture" in found:
        card = _card_of_timm(found | ({"architecture": model} if model else {}))
        return card, tensors, False
    known = {field.name for field in fields(Card)}
    card = parse(Card, {k: v for k, v in found.items() if k in known}, where="config.json")
    return card, tensors, True


def kinds(model: str) -> tuple[Kind, ...]:
    """Return what a model's family is called in transformers."""
    return vars(family(model)).get("CONFIGS", ())


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
    count = found.get(kind.count, kind.defaults.get(kind.count)) or len(names)
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
    alike: dict[str, int] = {}
    for name, variant in family(default).VARIANTS.items():
        plain = dump(variant)
        other = {key for key, value in settings.items() if plain[key] != value}
        if other <= {*LOOSE}:
            alike[name] = len(other)
    return min(alike, key=lambda name: alike[name], default=default)


def _card_of_timm(found: dict[str, Any]) -> Card:
    name = found["architecture"]
    config = models.config(name)
    arguments = found.get("model_args", {})
    for setting in arguments.keys() - {*TIMM_READ, *TIMM_HARMLESS}:
        raise ConfigError(
            f"config.json: model_args {setting!r} makes another network than {name}; it is not "
            f"supported"
        )
    pool = {"token": "token", "mean": "avg"}.get(dump(config).get("pool", ""))
    if pool is not None and found.get("global_pool", pool) != pool:
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
        num_classes=found.get("num_classes") or 1000,  # 0: there is no head
        classes=tuple(classes) or None,
        preprocessing=from_timm(found.get("pretrained_cfg", {}), base),
    )
