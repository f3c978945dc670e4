"""What Patchword does: every verb is a function here, and a command of the same name.

The help of a command is the docstring of its function. Nothing heavy is imported before a verb
is used.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from patchword.checkpoints import load as load
    from patchword.doctor.checkup import Checkup
    from patchword.evaluation.topk import TopK
    from patchword.factory import create_model as create_model
    from patchword.factory import list_models as list_models

HOMES = {
    "create_model": "patchword.factory",
    "list_models": "patchword.factory",
    "load": "patchword.checkpoints",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name not in HOMES:
        raise AttributeError(f"module 'patchword.api' has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)


@dataclass(frozen=True)
class TrainedRun(PathLike[str]):
    """A run directory that knows itself; it can stand wherever a path can."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def report(self) -> Path:
        """The page about the training."""
        return self.path / "report.html"

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """The scores of each held-out split, shares from 0 to 1."""
        return json.loads((self.path / "scores.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found in a data set, and the folder that it wrote to."""

    path: Path
    found: "Checkup"

    @property
    def report(self) -> Path:
        """The page about the data."""
        return self.path / "doctor.html"

    @property
    def quarantine(self) -> Path:
        """The pictures that a training should leave out."""
        return self.path / "quarantine.csv"


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file; `error` where the file cannot be read."""

    file: str
    names: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None


def models(pattern: str = "*", *, json: bool = False) -> list[dict[str, Any]]:
    """List the models.

    Args:
        pattern: of their names, as in "deit*".
        json: print JSON lines.

    Raises:
        ConfigError: none has such a name.
    """
    from dataclasses import asdict

    from patchword import catalogue
    from patchword import models as zoo
    from patchword.errors import ConfigError, suggest
    from patchword.factory import list_models

    names = list_models(pattern)
    if not names:
        raise ConfigError(f"no model's name is like {pattern!r}; {suggest(pattern, zoo.index())}")
    found = [catalogue.entry(name) for name in names]
    return [
        {
            "model": entry.model,
            **asdict(entry.figures),
            "image_size": list(entry.image_size),
            "paper": entry.paper,
            "claim": asdict(entry.claim),
        }
        for entry in found
    ]


def train(
    data: str | None = None,
    *,
    out: str | PathLike[str] | None = None,
    model: str | None = None,
    recipe: str | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    holdout: float | None = None,
    seed: int = 0,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    workers: int | None = None,
    device: str = "auto",
    compile: bool = False,  # the field's word
    init: str | PathLike[str] | None = None,
    quarantine: str | PathLike[str] | None = None,
    settings: Sequence[str] = (),
    config: str | PathLike[str] | None = None,
) -> TrainedRun:
    """Train a classifier on pictures, evaluate it and write a report.

    The same command continues a training that was stopped. What is not said is picked from the
    data and the machine, and printed first.

    Args:
        data: a folder of pictures, idx or parquet files, or the embedded set "digits".
        out: the run directory; runs/NAME of the data if not said.
        model: a name that `patchword models` lists.
        recipe: vit, deit or tiny.
        epochs: passes over the training pictures.
        minutes: wall clock for everything, instead of epochs.
        batch_size: pictures per step.
        lr: peak learning rate, for this batch size.
        image_size: side, or rows and columns, in pixels.
        holdout: share of the training pictures, from 0 to 1, to hold out and choose by.
        seed: of the training.
        precision: of matrix products; auto measures which is faster.
        workers: processes that decode pictures; 0 is a thread.
        device: cpu, cuda, mps, or auto.
        compile: compile the network first.
        init: a run, folder or file of weights to start from.
        quarantine: a list of pictures to leave out, as `patchword doctor` writes it.
        settings: changes to the recipe by path, as in augment.hflip=0.5.
        config: the config.json of a run, to train as that one was.
    """
    began = time.perf_counter()
    from patchword.errors import ConfigError
    from patchword.factory import sides
    from patchword.training.job import train as run
    from patchword.training.settings import Request, requested

    request = Request(
        data=data or "",
        model=model,
        recipe=recipe,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        lr=lr,
        image_size=None if image_size is None else sides(image_size),
        holdout=holdout,
        seed=seed,
        precision=precision,
        workers=workers,
        device=device,
        compile=compile,
        init=None if init is None else fspath(init),
        quarantine=None if quarantine is None else fspath(quarantine),
        settings=tuple(settings),
    )
    before = None
    if config is not None:
        request, before = requested(Path(config), request)
    if not request.data:
        raise ConfigError("no data was named: give a folder of pictures, or 'digits'")
    name = Path(request.data).resolve().name if request.data != "digits" else "digits"
    folder = Path("runs") / name if out is None else Path(out)
    return TrainedRun(run(request, folder, began=began, before=before))


def doctor(
    data: str,
    *,
    out: str | PathLike[str] | None = None,
    run: str | PathLike[str] | None = None,
    workers: int | None = None,
    device: str = "auto",
    json: bool = False,
) -> Diagnosis:
    """Look at a data set before training: every picture once, and nothing is written into it.

    Finds what cannot be read, what shows nothing, duplicates in and across splits, classes that
    differ between splits, likely wrong labels, and pictures stored in unusual ways. Writes a
    page, all findings, and the quarantine: a list of pictures for a training to leave out. The
    exit code is 1 where something should be left out or put right first, else 0.

    Args:
        data: a folder of pictures, idx or parquet files, or the embedded set "digits".
        out: the folder of the results; doctor/NAME of the data if not said, never in the data.
        run: a run, or a folder or file of a model, by whose features to look for wrong labels.
        workers: processes that decode pictures; 0 is a thread.
        device: that the model runs on: cpu, cuda, mps, or auto.
        json: print JSON lines.
    """
    from patchword.doctor.checkup import checkup, elsewhere, write
    from patchword.doctor.page import write_page
    from patchword.doctor.progress import progress

    folder = Path("doctor") / (Path(data).resolve().name or "data") if out is None else Path(out)
    elsewhere(folder, data)
    with progress() as watch:
        found = checkup(
            data,
            run=None if run is None else Path(run),
            workers=workers,
            device=device,
            watch=watch,
        )
    write(found, folder)
    write_page(found, folder / "doctor.html")
    return Diagnosis(folder, found)


def evaluate(
    run: str | PathLike[str],
    *,
    data: str | None = None,
    split: Literal["auto", "train", "validation", "test"] = "auto",
    device: str = "auto",
) -> "TopK":
    """Score a trained model on pictures with labels.

    Args:
        run: a run, or a folder or file that holds a model.
        data: what to score on; what the run was trained on if not said.
        split: of the data; auto is test where there is one, else validation.
        device: cpu, cuda, mps, or auto.
    """
    from patchword.training.use import evaluate as score

    return score(Path(run), data=data, split=split, device=device)


def predict(
    run: str | PathLike[str],
    *pictures: str,
    top: int = 3,
    json: bool = False,
    device: str = "auto",
) -> list[Prediction]:
    """Answer pictures.

    Args:
        run: a run, or a folder or file that holds a model.
        pictures: files, folders and globs.
        top: how many classes to name.
        json: print JSON lines.
        device: cpu, cuda, mps, or auto.
    """
    from patchword.training.use import predictions

    return [
        Prediction(file, answer.names, answer.probabilities)
        if error is None and answer is not None
        else Prediction(file, error=error)
        for file, answer, error in predictions(Path(run), pictures, top=top, device=device)
    ]
