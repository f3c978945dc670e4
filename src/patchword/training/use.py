"""A trained model at work: answers for pictures."""

from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

import torch

from patchword.checkpoints import load
from patchword.config import read_json
from patchword.data import header
from patchword.data.pixels import FORMATS
from patchword.engine.devices import device as named_device
from patchword.errors import ConfigError, DataError, ImageError
from patchword.factory import Model
from patchword.heads.classify import Classifier
from patchword.heads.dense import Dense
from patchword.heads.detector import Detector
from patchword.heads.panoptic import Panoptic
from patchword.layers import for_inference
from patchword.lineage import lineage, of_code, passed_on
from patchword.results import Inherited, Prediction
from patchword.training.coco import found_in, parted_in, plain
from patchword.training.job import stored_card
from patchword.training.placed import placed

BATCH = 64


def files(patterns: Sequence[str]) -> list[str]:
    """Find the pictures that files, folders and globs name, each once, in order.

    Raises:
        DataError: one of them is nothing, or a folder without pictures.
    """
    found: dict[str, None] = {}
    known = {suffix for suffixes in FORMATS.values() for suffix in suffixes}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            inside = [str(p) for p in sorted(path.rglob("*")) if p.suffix.lower() in known]
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
    run: Path,
    patterns: Sequence[str],
    *,
    top: int,
    device: str,
    views: Sequence[str] = (),
    out: Path | None = None,
    threshold: float | None = None,
) -> Iterator[Prediction]:
    """Answer each picture that the patterns name."""
    names = files(patterns)
    model = load(run).to(named_device(device))
    for_inference(model.eval())
    least = threshold_of(run, threshold, model)
    if not isinstance(model, Classifier):
        where = out or Path("predictions") / run.resolve().stem
        yield from written(model, names, where, top=top, views=views, least=least)
        return
    if out is not None:
        raise ConfigError("--out is for answers place by place; this model answers whole pictures")
    predictor = model.predictor(views)
    for start in range(0, len(names), BATCH):
        pixels: dict[str, torch.Tensor] = {}
        errors: dict[str, str] = {}
        notes: dict[str, tuple[str, ...]] = {}
        for name in names[start : start + BATCH]:
            try:
                pixels[name] = predictor.pixels(name)
                notes[name] = header(Path(name), predictor.card.pixels).notes
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
            if name in errors:
                yield Prediction(name, error=errors[name])
                continue
            said = answers[name]
            yield Prediction(name, said.names, said.probabilities, said.values, notes=notes[name])


def threshold_of(run: Path, said: float | None, model: Model) -> float:
    """Return the score from which a detector's answers are shown.

    If nobody says, it is that at which F1 was best on held-out pictures; one half of a model that
    is no run.

    Raises:
        ConfigError: what is said is no score, or the model does not answer with such.
    """
    if said is not None and not isinstance(model, Detector):
        raise ConfigError("--threshold is of boxes with scores, which this model does not answer")
    if said is not None and not 0 <= said <= 1:
        raise ConfigError(f"--threshold is {said}; wanted: a score from 0 to 1")
    file = run / "scores.json"
    scores = read_json(file) if file.is_file() else {}
    known = [scores[split].get("threshold") for split in ("validation", "test") if split in scores]
    return said if said is not None else next((x for x in known if x is not None), 0.5)


def written(
    model: Dense | Detector,
    names: Sequence[str],
    out: Path,
    *,
    top: int,
    views: Sequence[str],
    least: float,
) -> Iterator[Prediction]:
    """Answer pictures into files: objects, segments, or what is said of every pixel."""
    if not isinstance(model, Detector | Panoptic):
        yield from placed(model, names, out, top=top, views=views)
        return
    plain(views)
    if isinstance(model, Detector):
        yield from found_in(model, names, out, least=least)
    else:
        yield from parted_in(model, names, out, top=top)


def inherited(run: str) -> list[Inherited]:
    """Return what a model was made from, of which a run knows before it is finished."""
    path = Path(run, "config.json")
    if path.is_file() and "settings" in read_json(path):
        card = stored_card(Path(run))
    else:
        card = load(run).card
        assert card is not None
    rows = lineage(card) or passed_on(card, run, "weights")
    return [*rows, *of_code(card)]
