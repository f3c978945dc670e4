"""The report of a run: its log, its mistakes, and what the network has learnt, as one page."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchword.data import Source
from patchword.data.frame import frame
from patchword.engine.run import Run
from patchword.errors import ImageError
from patchword.evaluation.answers import Answers
from patchword.evaluation.protocol import Finding, Score, Subject
from patchword.factory import Model
from patchword.heads.classify import Classifier
from patchword.inspection.attention import looked_at
from patchword.inspection.stem import filters, position_similarity
from patchword.pages.figures import Chart, Series
from patchword.pages.report import (
    Attended,
    Facts,
    Figure,
    Filters,
    Mistake,
    Report,
    write_report,
)
from patchword.predictor import Card, normalise
from patchword.training.choose import Chosen
from patchword.training.pictured import pictured
from patchword.training.screen import clock, size, split_words
from patchword.training.settings import Settings
from patchword.training.subjects import AnySubject
from patchword.training.worded import confusion, figure, per_class, recalls, titled

MISTAKES, LOOKED_AT = 24, 8
FURTHER = 4  # scores at the top, beside the main one
BESIDE = ("AP50", "SQ", "RQ")  # that stand there without an interval


def report(
    out: Path,
    subject: AnySubject,
    chosen: Chosen,
    settings: Settings,
    found: Sequence[Finding],
    *,
    further: Sequence[Facts] = (),
) -> None:
    """Write `report.html`; the pictures are those of the last split that was scored.

    Args:
        out: the run directory.
        subject: the model with the weights that were kept.
        chosen: the data.
        settings: of the run.
        found: the scores of each split.
        further: facts beside those on data, network and machine.
    """
    last = found[-1] if found else None
    split = last.split if last else None
    source = {"validation": chosen.data.validation, "test": chosen.data.test}.get(split or "")
    classes = chosen.data.train.classes
    rows = Run(out).rows()
    page = Report(
        title=f"{settings.request.model or chosen.card.model} on {chosen.data.name}",
        subtitle=subtitle(settings, rows[-1]["step"] if rows else settings.steps, split),
        headline=headline(found, rows, settings),
        notes=settings.reasons,
        curves=curves(rows, last.scores[0] if last else None),
        confusion=confusion(classes, last),
        per_class=per_class(classes, last),
        classes=len(classes),
        recalls=recalls(last),
        facts=(*further, *facts(out, chosen, settings, subject.model)),
        config=(out / "config.json").read_text(encoding="utf-8"),
    )
    if isinstance(subject, Subject):
        page = replace(
            page,
            mistakes=mistakes(source, subject.answers(source)) if source else (),
            attention=attended(subject.model, source or chosen.data.train, subject.card),
            filters=patch_filters(subject.model),
            positions=positions(subject.model),
        )
    elif source is not None and last is not None:
        page = replace(page, scenes=pictured(subject, source, last))
    write_report(page, out / "report.html")


def subtitle(settings: Settings, steps: int, split: str | None) -> str:
    """Say in a sentence how the network was trained and what it was scored on."""
    epochs = steps / settings.steps_per_epoch
    scored = {
        "test": "scored once on test pictures that had no part in any choice",
        "validation": "scored on the validation pictures that its best weights were chosen by",
        None: "not scored, as there are no held-out pictures",
    }[split]
    return (
        f"Trained for {steps:,} steps of {settings.recipe.batch_size} pictures "
        f"({epochs:.1f} epochs) by the recipe {settings.recipe.name}, and {scored}."
    )


def headline(
    found: Sequence[Finding], rows: list[dict[str, Any]], settings: Settings
) -> tuple[Figure, ...]:
    """Return the numbers that stand at the top."""
    figures = [figure(f, f.scores[0]) for f in reversed(found)]
    certain = [(f, score) for f in reversed(found) for score in f.scores[1:] if shown_large(score)]
    figures += [figure(f, score) for f, score in certain[:FURTHER]]
    steps = [row for row in rows if "loss" in row]
    seconds = sum(row["seconds"] for row in steps)
    seen = (steps[-1]["step"] if steps else 0) * settings.recipe.batch_size
    if steps and seconds:
        waited = sum(row["seconds"] * row["waiting"] for row in steps) / seconds
        figures += [
            Figure(label="training", value=clock(seconds), note=f"{seen:,} pictures seen"),
            Figure(
                label="pictures per second",
                value=f"{seen / seconds:,.0f}",
                note=f"{waited:.0%} of the time waiting for data",
            ),
        ]
    return tuple(figures)


def shown_large(score: Score) -> bool:
    """Tell whether a score that is not the main one stands at the top, too."""
    return score.interval is not None or score.name in BESIDE


def curves(rows: list[dict[str, Any]], main: Score | None) -> tuple[Chart, ...]:
    """Return loss, validation accuracy and learning rate over the steps."""
    train = [row for row in rows if "loss" in row]
    looks = [row for row in rows if "score" in row]

    def series(name: str, chosen: list[dict[str, Any]], key: str, by: float = 1.0) -> Series:
        steps = tuple(float(row["step"]) for row in chosen)
        return Series(name=name, x=steps, y=tuple(row[key] * by for row in chosen))

    losses = [series("training", train, "loss")]
    if any("validation_loss" in row for row in looks):
        losses.append(series("validation", looks, "validation_loss"))
    charts = [
        Chart(
            title="Loss",
            x_label="step",
            y_label="loss",
            series=tuple(losses),
            caption="How wrong the network is, on average. It should fall and level out; "
            "training falling on while validation rises is overfitting.",
        )
    ]
    if looks and main is not None:
        share = main.unit == "share"
        charts.append(
            Chart(
                title="Validation score",
                x_label="step",
                y_label=f"{main.name}, %" if share else main.name,
                series=(series("validation", looks, "score", 100.0 if share else 1.0),),
                caption="How the validation pictures were answered, as training went on: the "
                "figure that the best weights were chosen by.",
            )
        )
    charts.append(
        Chart(
            title="Learning rate",
            x_label="step",
            y_label="rate",
            series=(series("rate", train, "lr"),),
            caption="How far each step moves the weights: up in the warm-up, then down.",
        )
    )
    return tuple(charts)


def mistakes(source: Source, answers: Answers) -> tuple[Mistake, ...]:
    """Return the wrong answers that the network was surest of, where there is one class."""
    if source.kind in ("labels", "values"):
        return ()
    labels, numbers = answers.labels, answers.indices
    confidence, said = answers.logits.softmax(dim=1).max(dim=1)
    wrong = (said != labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]
    return tuple(
        Mistake(
            picture=pixels(source.read(int(numbers[i]))),
            name=source.name(int(numbers[i])),
            truth=source.classes[int(labels[i])],
            answer=source.classes[int(said[i])],
            confidence=float(confidence[i]),
        )
        for i in worst.tolist()
    )


@torch.inference_mode()
def attended(model: Classifier, source: Source, card: Card) -> tuple[Attended, ...]:
    """Return where the last block attends to, on pictures spread over the classes."""
    preprocessing = card.preprocessing
    firsts = np.unique(source.labels, return_index=True)[1]
    kept: list[tuple[int, Tensor]] = []
    for index in firsts[np.linspace(0, len(firsts) - 1, min(LOOKED_AT, len(firsts))).astype(int)]:
        try:
            kept.append((int(index), frame(source.read(int(index)), preprocessing)))
        except ImageError:
            continue
    if not kept:
        return ()
    images = torch.stack([image for _, image in kept])
    where = next(model.parameters()).device
    maps = looked_at(model.backbone, normalise(images.to(where), preprocessing))
    if maps is None:
        return ()
    return tuple(
        Attended(
            title=titled(source, index),
            picture=pixels(image),
            maps=np.asarray(heads),
        )
        for (index, image), heads in zip(kept, maps.cpu().numpy(), strict=True)
    )


def patch_filters(model: Classifier) -> Filters | None:
    """Return the principal components of the patch filters as pictures."""
    found = filters(model.backbone)
    if found is None:
        return None
    return Filters(
        pictures=found.figure().pictures,
        caption="The main patterns that the first layer looks for in a patch, the strongest "
        "first. Smooth waves and edges are what trained networks learn; noise is an untrained one.",
    )


def positions(model: Classifier) -> Float[np.ndarray, "rows columns rows columns"] | None:
    """Return how alike the positions are, for grids that a page can show."""
    found = position_similarity(model.backbone)
    if found is None or found.shape[0] * found.shape[1] > 400:
        return None
    return found.cpu().numpy()


def pixels(image: UInt8[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    """Return pixels as pages want them."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def facts(out: Path, chosen: Chosen, settings: Settings, model: Model) -> tuple[Facts, ...]:
    """Return what was found, what ran, and where."""
    census, card = chosen.census, chosen.card
    splits = {"train": census.train, "validation": census.validation, "test": census.test}
    parameters = sum(p.numel() for p in model.parameters())
    machine = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    data = [(n, split_words("", s).strip()) for n, s in splits.items() if s is not None]
    network = [
        ("model", card.model),
        *([("backbone", card.backbone)] if card.backbone else []),
        ("parameters", f"{parameters:,}"),
        ("image size", f"{size(card.preprocessing.image_size)} pixels"),
        ("mean, deviation", f"{card.preprocessing.mean}, {card.preprocessing.std}"),
        ("recipe", settings.recipe.name),
        ("batch", f"{settings.recipe.batch_size}"),
        ("optimizer", f"{settings.recipe.optim.name}"),
        ("seed", settings.request.seeds),
        ("precision", settings.precision),
    ]
    libraries = ", ".join(f"{k} {v}" for k, v in machine["libraries"].items())
    place = [
        ("processor", str(machine["processor"])),
        ("GPU", str(machine["gpu"] or "none")),
        ("threads", str(settings.threads)),
        ("libraries", libraries),
        ("date", str(machine["date"])),
        ("command", " ".join(machine["command"])),
    ]
    return (
        Facts(title="Data", rows=tuple(data)),
        Facts(title="Network and training", rows=tuple(network)),
        Facts(title="Machine", rows=tuple(place)),
    )
