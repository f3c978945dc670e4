"""What Patchword does: every verb is a function here, and a command of the same name.

The help of a command is the docstring of its function. Nothing heavy is imported before a verb
is used.
"""

import time
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from patchword.memory import keeping
from patchword.results import Converted, Inherited, Inspected, Prediction, TrainedRun

if TYPE_CHECKING:
    from patchword.diagnosis.visit import Diagnosis
    from patchword.evaluation.protocol import Evaluation


def models(
    pattern: str = "*", *, pretrained: bool = False, json: bool = False
) -> list[dict[str, Any]]:
    """List the models.

    Args:
        pattern: of their names, as in "deit*".
        pretrained: list the trained weights that are known, the default of each model first.
        json: print JSON lines.

    Raises:
        ConfigError: none has such a name.
    """
    from patchword import catalogue
    from patchword.factory import some_models

    names = some_models(pattern)
    if pretrained:
        from patchword.sources import rows

        return rows(names)
    return catalogue.rows(names)


def convert(
    source: str | PathLike[str],
    dest: str | PathLike[str],
    *,
    format: str = "patchword",  # the word
    model: str | None = None,
    part: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    in_chans: int | None = None,
    num_classes: int | None = None,
) -> Converted:
    """Write a model in another format, adapted where asked, and read it back to be sure.

    Args:
        source: a run, or a folder or file that holds a model, in any format that is known.
        dest: a folder, or a file of weights alone, .safetensors or .pth.
        format: patchword, timm, transformers, torchvision or authors, where the family has it.
        model: its name, where the source does not say it.
        part: which network of a file that holds several, as in student.
        image_size: side, or rows and columns, in pixels, to adapt it to.
        patch_size: side of a patch in pixels, to adapt it to.
        in_chans: channels of an image, to adapt it to.
        num_classes: another number makes a fresh head.
    """
    from patchword.adaptation import adapt
    from patchword.checkpoints import restore
    from patchword.conversion import save

    loaded, report = restore(fspath(source), model, part)
    adapted, changes = adapt(
        loaded,
        image_size=image_size,
        patch_size=patch_size,
        in_chans=in_chans,
        num_classes=num_classes,
    )
    save(adapted, Path(dest), format=format)
    assert adapted.card is not None
    said = (*report.lines, *(str(changes).splitlines() if changes.lines else ()))
    return Converted(Path(dest), adapted.card.model, format, len(adapted.state_dict()), said)


@keeping
def train(
    data: str | None = None,
    *,
    columns: Sequence[str] = (),
    task: Literal["auto", "segment", "depth", "detect", "panoptic"] = "auto",
    out: str | PathLike[str] | None = None,
    model: str | None = None,
    backbone: str | None = None,
    recipe: str | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    holdout: float | None = None,
    seed: int = 0,
    view_seed: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    workers: int | None = None,
    device: str = "auto",
    compile: bool = False,  # the field's word
    init: str | PathLike[str] | None = None,
    teacher: str | PathLike[str] | None = None,
    distill: Literal["hard", "soft"] | None = None,
    token: bool = False,
    unlabelled: str | PathLike[str] | None = None,
    cache: str | PathLike[str] | None = None,
    quarantine: str | PathLike[str] | None = None,
    settings: Sequence[str] = (),
    config: str | PathLike[str] | None = None,
) -> TrainedRun:
    """Train a model on pictures, evaluate it and write a report.

    The same command continues a training that was stopped. What is not said is picked from the
    data and the machine, and printed first.

    Args:
        data: a folder of pictures or of files of them, with masks, depths, boxes or segments
            beside them where these are to be answered; a list (CSV, JSON lines); tar shards;
            hf:NAME; torchvision:NAME:ROOT; or the embedded set "digits".
        columns: of a list, where its names do not tell, as in path=file label=breed split=fold.
        task: what to learn, where several things are known of the pictures; auto is the richest.
        out: the run directory; runs/NAME of the data if not said.
        model: a name that `patchword models` lists; or a head alone, as in segmenter or dpt.
        backbone: what a head alone is put on.
        recipe: a file of patchword/recipes, as in deit, deit3, plain_vit, finetune or tiny.
        epochs: passes over the training pictures.
        minutes: wall clock for everything, instead of epochs.
        batch_size: pictures per step.
        lr: peak learning rate, for this batch size.
        image_size: side, or rows and columns, in pixels.
        holdout: share of the training pictures, from 0 to 1, to hold out and choose by; if not
            said, none where the data has a split to score, a fifth where it has none.
        seed: of the training.
        view_seed: of what is seen (splits, order, augmentation, mixing), the same as seed if not
            said; runs that share it and differ in seed share a teacher's answers.
        precision: of matrix products; auto measures which is faster.
        workers: processes that decode pictures; 0 is a thread.
        device: cpu, cuda, mps, or auto.
        compile: compile the network first.
        init: a run, folder or file of weights to start from, adapted to these images and classes;
            the recipe is finetune then, if not said.
        teacher: what to learn from as well: a run, folder or file of weights, NAME=FILE, timm:NAME
            or torchvision:NAME.
        distill: learn the class that the teacher names (hard, the default), or all that it says.
        token: learn it through a distillation token, with a model that has one.
        unlabelled: a folder of pictures for the teacher to label, and to learn under its labels.
        cache: the folder that teachers' answers are kept in, for all runs that see the same views;
            patchword/teachers in the user's cache folder if not said.
        quarantine: a list of pictures to leave out, as `patchword doctor` writes it.
        settings: changes to the recipe by path, as in augment.hflip=0.5, and to how pictures are
            read, as in pixels.background=[0,0,0] (docs/decoding.md lists them).
        config: the config.json of a run, to train as that one was.
    """
    began = time.perf_counter()
    from patchword.data.open import named
    from patchword.errors import ConfigError
    from patchword.factory import sides
    from patchword.training.job import train as run
    from patchword.training.settings import Request, requested

    request = Request(
        data=data or "",
        columns=tuple(columns),
        task=task,
        model=model,
        backbone=backbone,
        recipe=recipe,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        lr=lr,
        image_size=None if image_size is None else sides(image_size),
        holdout=holdout,
        seed=seed,
        view_seed=view_seed,
        precision=precision,
        workers=workers,
        device=device,
        compile=compile,
        init=None if init is None else fspath(init),
        teacher=None if teacher is None else fspath(teacher),
        distill=distill,
        token=token,
        unlabelled=None if unlabelled is None else fspath(unlabelled),
        cache=None if cache is None else fspath(cache),
        quarantine=None if quarantine is None else fspath(quarantine),
        settings=tuple(settings),
    )
    before = None
    if config is not None:
        request, before = requested(Path(config), request)
    if not request.data:
        raise ConfigError("no data was named: give a folder of pictures, or 'digits'")
    folder = Path("runs") / named(request.data) if out is None else Path(out)
    return TrainedRun(run(request, folder, began=began, before=before))


def doctor(
    data: str,
    *,
    columns: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    run: str | PathLike[str] | None = None,
    workers: int | None = None,
    device: str = "auto",
    json: bool = False,
) -> "Diagnosis":
    """Look at a data set before training: every picture once, and nothing is written into it.

    Finds what cannot be read, what shows nothing, duplicates in and across splits, classes that
    differ between splits, likely wrong labels, and pictures stored in unusual ways. Writes a
    page, all findings, and the quarantine: a list of pictures for a training to leave out. The
    exit code is 1 where something should be left out or put right first, else 0.

    Args:
        data: as `train` takes it.
        columns: of a list or a table, as `train` takes them.
        out: the folder of the results; doctor/NAME of the data if not said, never in the data.
        run: a run, or a folder or file of a model, by whose features to look for wrong labels.
        workers: processes that decode pictures; 0 is a thread.
        device: that the model runs on: cpu, cuda, mps, or auto.
        json: print JSON lines.
    """
    from patchword.data.open import named
    from patchword.diagnosis.visit import diagnose

    return diagnose(
        data,
        Path("doctor") / named(data) if out is None else Path(out),
        columns=columns,
        run=None if run is None else Path(run),
        workers=workers,
        device=device,
    )


@keeping
def evaluate(
    run: str | PathLike[str],
    *data: str,
    protocol: str = "auto",
    split: Literal["auto", "train", "validation", "test", "all"] = "auto",
    settings: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    json: bool = False,
    device: str = "auto",
) -> "Evaluation":
    """Judge a trained model on pictures with labels.

    A run keeps what came out in evaluation.json, and shows it in evaluation.html.

    Args:
        run: a run, or a folder or file that holds a model.
        data: what to judge on, each set perhaps after the name of a group, as in
            natural=photos/; what the run was trained on if not said.
        protocol: auto is what the task is scored by: topk of classes, multilabel of labels,
            regression of values, miou of masks, depth of depths, ap of boxes, pq of segments.
            Further ones: calibration, of the model's own answers; corruptions or shifts, of its
            answers to disturbed pictures; real or variant, against other labels and pictures of
            its classes; tta, of its answers to several views of each picture; fewshot, linear or
            knn, of its features; finetune, of the whole model taught each set.
        split: of the data; auto is test where there is one, else validation; all is every picture.
        settings: changes to the protocol by path, as in shots=[1,5]; of masks and depths also
            view.by=windows, view.scales=[0.75,1,1.25] and view.flip=true; of boxes threshold=0.5.
        out: where to write; the run if not said, nowhere for a model that is no run.
        json: print JSON.
        device: cpu, cuda, mps, or auto.
    """
    from patchword.training.judge import evaluate as judge

    return judge(
        Path(run),
        data,
        protocol=protocol,
        settings=settings,
        split=split,
        device=device,
        out=None if out is None else Path(out),
    )


@keeping
def predict(
    run: str | PathLike[str],
    *pictures: str,
    top: int = 3,
    views: Sequence[str] = (),
    threshold: float | None = None,
    out: str | PathLike[str] | None = None,
    json: bool = False,
    device: str = "auto",
) -> list[Prediction]:
    """Answer pictures.

    A model that answers place by place writes an overlay of each picture to look at, and a mask
    (PNG with a palette, the class numbers as they are), a depth map (PNG of 16 bits), the ids of
    segments (COCO's panoptic PNG and JSON), or the boxes of all objects (COCO's JSON of results).

    Args:
        run: a run, or a folder or file that holds a model.
        pictures: files, folders and globs.
        top: how many classes to name.
        views: of each picture, averaged at their cost: flip, crops (five), scale=1.2 (closer).
        threshold: of boxes: the least score that is drawn and named; that at which F1 was best on
            the held-out pictures if not said. The file of boxes holds all.
        out: the folder of what is written; predictions/NAME of the run if not said.
        json: print JSON lines.
        device: cpu, cuda, mps, or auto.
    """
    from patchword.training.use import predictions

    return list(
        predictions(
            Path(run),
            pictures,
            top=top,
            device=device,
            views=views,
            out=None if out is None else Path(out),
            threshold=threshold,
        )
    )


def licences(run: str | PathLike[str], *, json: bool = False) -> list[Inherited]:
    """Say what a model inherits from data, weights and code, as far as it is known.

    Args:
        run: a run, or whatever else holds a model.
        json: print JSON lines.
    """
    from patchword.training.use import inherited

    return inherited(fspath(run))


@keeping
def inspect(
    run: str | PathLike[str],
    *pictures: str,
    out: str | PathLike[str] | None = None,
    against: str | PathLike[str] | None = None,
    checks: bool = False,
    device: str = "auto",
    json: bool = False,
) -> Inspected:
    """Look inside a trained model: what it attends to, has learnt and gets wrong, as one page.

    The page needs no network; its figures are also written one by one, beside it.

    Args:
        run: a run, or a folder or file that holds a model.
        pictures: files, folders and globs, of which 16 are shown; held-out ones of the run's own
            data if not said, mistakes and near misses among them.
        out: the folder of the page; the run if not said, inspect/NAME for a model that is no run.
        against: another model, to set beside it.
        checks: measure whether the maps are faithful; first says how long that will take.
        device: cpu, cuda, mps, or auto.
        json: print JSON.
    """
    from patchword.portrait.look import inspect as look

    return look(
        Path(run),
        pictures,
        out=None if out is None else Path(out),
        against=None if against is None else Path(against),
        checks=checks,
        device=device,
    )
