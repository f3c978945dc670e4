"""Models into files, in our format and in others', each read back before it is trusted."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from patchword.checkpoints import kinds, restore
from patchword.config import dump
from patchword.errors import ConfigError, WeightsError, suggest
from patchword.factory import Model, formats
from patchword.files import write_text
from patchword.identify import named, pixelwise
from patchword.lineage import lineage, readme
from patchword.predictor import Card
from patchword.weights import Format
from patchword.weights.arrays import write_arrays
from patchword.weights.configs import preprocessor_to, to_timm
from patchword.weights.files import PICKLED, checksum, read, write
from patchword.weights.google import GOOGLE


def save(
    model: Model,
    dest: str | Path,
    *,
    format: str = "patchword",  # the word
) -> None:
    """Write a model, read it back, and hold it against what was to be written.

    Args:
        model: as trained or loaded.
        dest: a folder, made where it is missing, for `model.safetensors` and `config.json`
            beside it; or a file of weights alone, `.safetensors` or `.pth`.
        format: ours; timm or transformers, with their config beside the weights, and the terms
            in a README.md where there is none; or another that the family is written in, such as
            torchvision or authors.

    Raises:
        ConfigError: the model has no card, or its family is not in that format.
        WeightsError: what was read back is not the same model, as where another project's config
            cannot say how it is built.
    """
    if model.card is None:
        raise ConfigError("this model has no card: make it with create_model, or load it")
    dest, tensors = Path(dest), model.state_dict()
    files: dict[str, Any] = {"config.json": dump(model.card)}
    if format != "patchword":
        files, name, root = foreign_files(model.card, format)
        tensors = foreign_tensors(model, name, root)
    weights = dest / ("model.npz" if format == GOOGLE else "model.safetensors")
    if alone := dest.suffix in (".safetensors", ".npz", *PICKLED):
        files, weights = {}, dest
    weights.parent.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_text(dest / name, json.dumps(content, indent=2) + "\n")
    page = dest / "README.md"
    told = alone or page.exists() or format not in ("timm", "transformers")
    if not told and lineage(model.card):
        write_text(page, readme(model.card))
    put = write_arrays if weights.suffix == ".npz" else write
    put(weights, tensors)
    verify(model, dest, alone=alone)


def foreign_files(card: Card, format: str) -> tuple[dict[str, Any], str, str | None]:
    """Return the files that another project writes beside weights, its format and its root.

    Raises:
        ConfigError: it has no such network.
    """
    names = card.classes or tuple(f"LABEL_{i}" for i in range(card.num_classes))
    if format == "timm":
        return {"config.json": to_timm(card.model, card.preprocessing, names)}, format, None
    if format == GOOGLE and card.pretraining_head:
        return {"config.json": dump(card)}, f"{GOOGLE} pre-training", None
    if format != "transformers":
        return {"config.json": dump(card)}, format, None
    reasons: list[ConfigError] = []
    for kind in kinds(card.model):
        if kind.format is None:
            continue
        try:
            config = kind.write(card.config, names)
        except ConfigError as reason:
            reasons.append(reason)
        else:
            beside = preprocessor_to(card.preprocessing)
            files = {"config.json": config, "preprocessor_config.json": beside}
            return files, kind.format, f"{kind.model_type}."
    raise reasons[0] if reasons else ConfigError(f"transformers has no network like {card.model}")


def foreign_tensors(model: Model, format: str, root: str | None) -> dict[str, Tensor]:
    """Return a model's tensors under another project's names.

    Raises:
        ConfigError: its family is not written so.
    """
    assert model.card is not None
    known = {f.name: f for f in formats(model.card)}
    if format not in known:
        raise ConfigError(
            f"{model.card.model} is not written as {format}; {suggest(format, known)}"
        )
    tensors = model.state_dict()
    biases = [n for n in tensors if n.startswith("head.") and n.endswith("bias")]
    for bias in biases:  # of zeros, where their heads have none
        if not tensors[bias].any() and not _names(known[format], bias):
            del tensors[bias]
    root = root if root in known[format].root else None
    return known[format].save(tensors, root=root, config=model.backbone.config)


def _names(format_: Format, ours: str) -> bool:
    """Tell whether a format has a name for a tensor of ours."""
    try:
        format_.save({ours: torch.empty(0)})
    except WeightsError:
        return False
    return True


def verify(model: Model, dest: Path, *, alone: bool) -> None:
    """Read a model back, and hold it against what was written.

    Args:
        model: what was written.
        dest: where.
        alone: whether there are weights alone, without a config.

    Raises:
        WeightsError: its tensors are not those that were written, or it answers otherwise.
    """
    assert model.card is not None
    if alone:
        found = (
            named(read(dest), model.card.model, model.backbone.config)[0]
            if model.card.head is None
            else pixelwise(read(dest), model.card)
        )
    else:
        again, _ = restore(dest, None, None)
        found = again.state_dict()
        size, channels = model.card.preprocessing.image_size, len(model.card.preprocessing.mean)
        noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            answers = [deepcopy(m).cpu().eval()(noise) for m in (model, again)]
        if not torch.allclose(*answers, rtol=0, atol=0, equal_nan=True):
            raise WeightsError(
                f"{dest} has the weights, and answers otherwise: its config cannot say how this "
                f"{model.card.model} is built; write another format, or weights alone"
            )
    own = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    if checksum(found, "") != checksum(own, ""):
        raise WeightsError(f"{dest} does not hold the tensors that were written; write it again")
