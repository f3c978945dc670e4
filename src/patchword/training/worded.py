"""Scores, and what is known of a picture, as `scores.json` and the report word them."""

from math import isnan
from typing import Any

from patchword.data import Source
from patchword.evaluation.protocol import Finding, Score
from patchword.pages.confusion import Confusion
from patchword.pages.figures import Chart, Series
from patchword.pages.report import ClassRow, Figure

NONE = "none"
NONES = {  # how its row and its column are read, by what is counted
    "objects": "In the row of none stand answers where nothing is, in its column what was missed.",
    "segments": "Pixels are counted; in the column of none stand those that are in no segment.",
}
DRAWN = 6  # curves in a chart
MANY = 30  # classes, from which those that are nowhere are not named
RECALLS = (
    "The share of answers that are right, where so many of the objects are to be found; a curve "
    "ends where no more of them are."
)


def summary(found: Finding) -> dict[str, Any]:
    """Return scores as JSON values by name; those of a label or value by its name below that."""
    kept: dict[str, Any] = {"count": found.count}
    for place, score in enumerate(found.scores):
        figures: dict[str, Any] = {score.key: None if isnan(score.value) else score.value}
        if score.interval is not None:
            figures[f"{score.key}_interval" if place else "interval"] = list(score.interval)
        for key, figure in figures.items():
            if score.under:
                kept.setdefault(key, {})[score.under] = figure
            else:
                kept[key] = figure
    return kept


def figure(found: Finding, score: Score) -> Figure:
    """Write a score, and how sure it is."""
    form = "{:.1%}" if score.unit == "share" else "{:.4g}"
    note = f"{found.count:,} pictures"
    if score.interval is not None:
        low, high = map(form.format, score.interval)
        note = f"95 % interval {low} to {high}, {note}"
    return Figure(
        label=f"{found.split} {score.name}{f' of {score.under}' if score.under else ''}",
        value=form.format(score.value),
        note=note,
    )


def confusion(classes: tuple[str, ...], found: Finding | None) -> Confusion | None:
    """Return what was taken for what, where a picture has one class."""
    if found is None or found.confusion is None:
        return None
    if len(found.confusion) == len(classes):
        return Confusion(names=classes, counts=found.confusion)
    return Confusion(names=(*classes, NONE), counts=found.confusion, note=NONES[found.counted])


def per_class(classes: tuple[str, ...], found: Finding | None) -> tuple[ClassRow, ...]:
    """Return how each class or label fared; of many, those that are there or were answered."""
    if found is None or not found.per_class:
        return ()
    return tuple(
        ClassRow(
            name=name,
            count=each.count,
            recall=each.recall,
            precision=each.precision,
            counted=found.counted,
            measures=each.measures,
        )
        for name, each in zip(classes, found.per_class, strict=True)
        if len(classes) <= MANY or each.count or not isnan(each.precision)
    )


def recalls(found: Finding | None) -> tuple[Chart, ...]:
    """Draw how precise answers are that are needed to reach a recall, a few curves at a time."""
    curves = () if found is None else found.curves
    return tuple(
        Chart(
            title="Precision by recall" + (", more classes" if first else ""),
            x_label="recall, %",
            y_label="precision, %",
            series=tuple(
                Series(
                    name=each.name,
                    x=tuple(100 * value for value in each.recall),
                    y=tuple(100 * value for value in each.precision),
                )
                for each in curves[first : first + DRAWN]
            ),
            caption=RECALLS,
        )
        for first in range(0, len(curves), DRAWN)
    )


def titled(source: Source, index: int) -> str:
    """Say what is known of a picture."""
    if source.kind in ("class", "shares") or source.targets is None:
        return source.classes[int(source.labels[index])]
    row = zip(source.classes, source.targets[index].tolist(), strict=True)
    if source.kind == "labels":
        return ", ".join(name for name, there in row if there) or "none"
    return ", ".join(f"{name} {value:.4g}" for name, value in row)
