"""The page of a run's evaluations, made of what `evaluation.json` keeps."""

import json
from math import nan
from pathlib import Path
from typing import Any

from patchword.pages.evaluation import Cell, EvaluationPage, Grid, Section, write_evaluation
from patchword.pages.figures import Chart, Series
from patchword.training.worded import DRAWN, RECALLS

LEADS = {
    "topk": "How often the model's own answers are right.",
    "multilabel": "How well labels are told, each said from 50 % on; average precision is over all "
    "thresholds, and mAP its mean over the labels.",
    "regression": "How far the values are from the truth, in their own units, and the share of "
    "their variance that the model explains (R2).",
    "calibration": "Whether the model is right as often as it is sure. The expected calibration "
    "error averages the gap between confidence and accuracy; NLL and Brier are better the lower.",
    "fewshot": "How well the model's features tell classes apart that it is shown a few pictures "
    "of, by regularised least squares. Intervals are over draws of those pictures.",
    "linear": "How well a logistic regression on the frozen features does; its penalty was chosen "
    "on a split of the training pictures.",
    "knn": "How well the labels of the most similar training pictures answer, by weighted and by "
    "plain votes.",
    "corruptions": "Accuracy on pictures that were disturbed, by kind and severity; the stronger "
    "the colour, the more answers were right.",
    "real": "How often the answer is one of a picture's several labels.",
    "variant": "How often the model is right on other pictures of its classes.",
    "finetune": "How well the whole model learns other pictures: all of its weights, by one recipe "
    "for every set.",
    "tta": "How often the answer is right when several views of a picture are averaged, beside the "
    "answer to the usual one.",
    "miou": "How well the class of each pixel is told: IoU is the share that truth and answer have "
    "in common of what either has, mIoU its mean over the classes.",
    "depth": "How far depths are off, at the maps' own resolution; delta1 is the share of pixels "
    "within a factor of 1.25, AbsRel the mean error by the truth.",
    "ap": "How well objects are found: AP is the mean precision over all recalls, over overlaps "
    "from 0.5 to 0.95 and over classes, AP50 and AP75 that at one overlap; s, m and l are areas "
    "up to 32 and 96 pixels square and above; AR is the recall that so many answers reach.",
    "pq": "How well pictures are parted: PQ is SQ, the mean overlap of the segments that were "
    "recognised, by RQ, how well they were; means are over classes.",
    "shifts": "Accuracy on pictures that were moved or resized.",
}
MADE = ("command", "date", "processor", "gpu", "libraries")


def page(folder: Path, evaluations: list[dict[str, Any]]) -> None:
    """Write `evaluation.html`: a section for each evaluation, the newest first."""
    models = ", ".join(dict.fromkeys(each["model"] for each in evaluations))
    shown = EvaluationPage(
        title=f"Evaluation of {models}",
        subtitle="Shares stand with their 95 % intervals where there is one.",
        sections=tuple(section(each) for each in reversed(evaluations)),
    )
    write_evaluation(shown, folder / "evaluation.html")


def section(found: dict[str, Any]) -> Section:
    """Return what one evaluation shows."""
    findings, means = found["findings"], found["means"]
    coloured = found["protocol"] in ("corruptions", "shifts")
    made = {key: found["made"][key] for key in MADE}
    repeat = {"settings": found["settings"], "data": found["data"], "made": made}
    notes = [f"{f['data']}: {note}" for f in findings for note in f["notes"]]
    notes += [f"not scored: {reason}" for f in findings for reason in f["unreadable"]]
    return Section(
        title=f"{found['protocol']} on {', '.join(f['data'] for f in findings)}",
        lead=LEADS.get(found["protocol"], "What the protocol found."),
        grids=tuple(grid(each, coloured=coloured) for each in (*findings, *means)),
        charts=(
            *(plot(each) for each in findings if each["reliability"]),
            *(recalls(each) for each in findings if each.get("curves")),
        ),
        notes=tuple(notes),
        settings=json.dumps(repeat, indent=2),
    )


def grid(finding: dict[str, Any], *, coloured: bool) -> Grid:
    """Return a finding's scores as a table."""
    scores = finding["scores"]
    columns = tuple(dict.fromkeys(score["name"] for score in scores))
    cells = {(score["under"], score["name"]): cell(score) for score in scores}
    under = dict.fromkeys(score["under"] for score in scores)
    split = f", {finding['split']}" if finding["split"] else ""
    return Grid(
        title=f"{finding['data']}{split}: {finding['count']:,} pictures",
        columns=columns,
        rows=tuple(
            (row or "all", tuple(cells.get((row, name), Cell(text="")) for name in columns))
            for row in under
        ),
        coloured=coloured,
    )


def cell(score: dict[str, Any]) -> Cell:
    """Write a score."""
    value, interval = score["value"], score["interval"]
    share = score["unit"] == "share"
    form = "{:.1%}" if share else "{:.4g}"
    if value is None:
        return Cell(text="—")
    note = "{} to {}".format(*map(form.format, interval)) if interval else ""
    return Cell(text=form.format(value), note=note, share=value if share else None)


def plot(finding: dict[str, Any]) -> Chart:
    """Draw how often the model was right where it was how sure."""
    bins = [each for each in finding["reliability"] if each["count"]]
    sure = tuple(100 * each["confidence"] for each in bins)
    right = tuple(100 * each["accuracy"] for each in bins)
    return Chart(
        title=f"Reliability on {finding['data']}",
        x_label="confidence, %",
        y_label="right, %",
        series=(
            Series(name="model", x=sure, y=right),
            Series(name="as right as sure", x=(0.0, 100.0), y=(0.0, 100.0)),
        ),
        caption="Share of right answers among pictures that the model was about equally sure of. "
        "Below the straight line it is surer than it should be, above it less sure.",
    )


def recalls(finding: dict[str, Any]) -> Chart:
    """Draw how precise answers are that are needed to reach a recall: the first few curves."""
    return Chart(
        title=f"Precision by recall on {finding['data']}",
        x_label="recall, %",
        y_label="precision, %",
        series=tuple(
            Series(name=each["name"], x=percent(each["recall"]), y=percent(each["precision"]))
            for each in finding["curves"][:DRAWN]
        ),
        caption=RECALLS,
    )


def percent(values: list[float | None]) -> tuple[float, ...]:
    """Return shares in percent; what is none is not a number."""
    return tuple(nan if value is None else 100 * value for value in values)
