"""The page of `benchmarks.scenes`: tables from its cells, and from what was learnt by heart."""

from statistics import mean
from typing import Any

from benchmarks import overfit
from benchmarks.distillation_page import average, difference, share, table

HEAD = """\
# Dense prediction in minutes

What our heads learn on two cores, beside transformers' networks, made by
`python -m benchmarks.scenes`. Measured on: {made}.

Both sides of a pair see the same batches in the same order, by seed, through the same loop, with
the same optimizer, for equally many steps: those that fit into the minutes of ours from scratch.
Transformers' networks begin with their own fresh weights and learn by their own loss; of its
detector, which freezes batch norms and most of the backbone whether these are trained or not, all
is let learn, as in ours. "Ours, their fresh weights" begins as transformers' does: what is left
between these two is no matter of the start, in which its SegFormer draws all convolutions with a
deviation of 0.02, where the authors draw depthwise ones of 3x3 with 0.47. What begins from `mit_b0`
or `resnet18` stands on a backbone that was trained here before, in {minutes} minutes, as a
classifier of tiny_imagenet_20. The held-out pictures chose nothing. Differences are paired by seed,
with the 95 % interval of Student's t; one whose interval holds 0 is not resolved.
"""
TITLES = {
    "street": ("Street scenes", "CamVid: 36 training pictures, 12 held out, 11 classes", "mIoU"),
    "cells": ("Blood cells", "BCCD: its own split into training and test, 3 classes", "AP50"),
    "room": ("A room", "7-Scenes: 56 frames, 13 of later in the same walk held out", "delta1"),
}
OVERFIT = """
## By heart

Two pictures at {side} pixels, until AP50 is {boxes:g} or panoptic quality {parts:g} of what the
truth itself reaches on the output's grid ("ceiling"), made by `python -m benchmarks.overfit`.
Measured on: {made}.

"""
PLAIN = """
DETR stands as it is: its paper trains it for 500 epochs of 118,000 pictures, from a trained
backbone; here it had the steps above, from nothing.
"""


def seeds(found: dict[str, Any], trial: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a trial's cells by seed, as far as they are there."""
    names = [f"{trial['name']}/{seed}" for seed in range(trial["seeds"])]
    return [found["cells"][name] for name in names if name in found["cells"]]


def rows_of(found: dict[str, Any], field: str, main: str) -> list[list[str]]:
    """Return the rows of a field's table."""
    rows = []
    for trial in [t for t in found["trials"] if t["field"] == field]:
        cells = seeds(found, trial)
        if not cells:
            continue
        scores = [cell["scores"] for cell in cells]
        others = [name for name in scores[0] if name not in (main, "classes")]
        rest = ", ".join(f"{name} {mean(s[name] for s in scores):.3f}" for name in others)
        whole = len(cells) == trial["seeds"]
        rows.append(
            [
                f"{trial['system']}, {trial['by']}",
                trial["start"] or "scratch",
                average([s[main] for s in scores]) + ("" if whole else " so far"),
                rest,
                f"{cells[0]['steps']:,}",
                f"{mean(cell['seconds'] for cell in cells):.0f}",
                f"{cells[0]['parameters'] / 1e6:.2f} M",
            ]
        )
    return rows


def pairs(found: dict[str, Any], field: str, main: str) -> list[list[str]]:
    """Return the rows that compare two trials of one system by their seeds."""
    rows = []
    trials = [t for t in found["trials"] if t["field"] == field]
    for one in trials:
        for other in trials:
            ours_twice = one["by"] == other["by"] == "ours"
            kinds = (ours_twice and one["start"] and not other["start"]) or (
                one["by"] == "ours" and other["by"] == "transformers" and not one["start"]
            )
            if one["system"] != other["system"] or not kinds:
                continue
            ours, theirs = (
                {cell["seed"]: cell["scores"][main] for cell in seeds(found, trial)}
                for trial in (one, other)
            )
            both = sorted(ours.keys() & theirs.keys())
            if both:
                apart = difference([ours[s] for s in both], [theirs[s] for s in both])
                what = "started over scratch" if one["start"] else "ours over transformers"
                rows.append([one["system"], what, str(len(both)), *apart])
    return rows


def classes(found: dict[str, Any], field: str) -> list[list[str]]:
    """Return what each class reaches, by the mean over seeds."""
    rows = []
    for trial in [t for t in found["trials"] if t["field"] == field]:
        each = [cell["scores"].get("classes") for cell in seeds(found, trial)]
        if each and all(each):
            scores = [share(mean(one[name] for one in each)) for name in each[0]]
            rows.append([f"{trial['system']}, {trial['by']}", trial["start"] or "scratch", *scores])
    return rows


def page(found: dict[str, Any]) -> str:
    """Draw the page."""
    made = "; ".join(sorted({cell["made"] for cell in found["cells"].values()})) or "not yet"
    parts = [HEAD.format(made=made, minutes=found["backbone_minutes"])]
    for field, (title, about, main) in TITLES.items():
        rows = rows_of(found, field, main)
        parts.append(f"\n## {title}\n\n{about}.\n\n")
        columns = ["system", "from", f"{main} (seeds)", "", "steps", "seconds", "parameters"]
        parts.append(table(columns, rows) if rows else "Nothing is measured yet.\n")
        if apart := pairs(found, field, main):
            parts.append("\n" + table(["system", "", "seeds", "difference", ""], apart))
        if each := classes(found, field):
            names = next(
                cell["scores"]["classes"]
                for cell in found["cells"].values()
                if cell.get("field") == field
            )
            parts.append("\n" + table(["system", "from", *names], each))
        if field == "cells" and any(row[0] == "detr, ours" for row in rows):
            parts.append(PLAIN)
    if learnt := overfit.kept():
        dates = "; ".join(sorted({row["on"] for row in learnt.values()}))
        shares = {"boxes": overfit.Boxes.share, "parts": overfit.Segments.share}
        parts.append(OVERFIT.format(side=overfit.SIDE, made=dates, **shares))
        parts.append(overfit.table([*learnt.values()]))
    return "".join(parts)
