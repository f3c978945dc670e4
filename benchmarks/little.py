"""320 photos: how far they go from scratch, and from the best start that can be trained here.

    python -m benchmarks.little [SETS] [--minutes 50] [--seeds 3] [--steps N] [--only start]
        [--out runs/little]

clothing10, ten classes of 32 training photos. The start is the same network after a quarter of an
hour on CIFAR-10 (JPEG q75), enlarged to its 64 pixels. Rates are chosen on the validation photos,
for either beginning; three seeds then learn the training photos with the chosen one, the weights
that are best on the validation photos are kept, and the test photos score them once, as they are
and with mirror images. What holding photos out costs is shown by the same training without
validation photos: all training photos and the last weights, or a fifth of them held out to keep the
best by, which is `--holdout 0.2`.

Cells, --minutes and --steps are those of benchmarks.distillation, --only trains from one of the
beginnings; the page is docs/little.md. Nothing trained on CIFAR-10 should be given away: its
pictures have no licence.
"""

import argparse
import csv
import sys
from pathlib import Path
from statistics import mean

from benchmarks.cells import length, logged, merged, sitting
from benchmarks.distillation_page import average, difference, share, table
from patchword import evaluate

MODEL = "vitc_mini_64"
SOURCE = "cifar10_jpeg"
PHOTOS = "clothing10"
START_MINUTES = 15
EPOCHS = 150.0  # over the photos: a minute or two
RATES = {  # of each beginning, by its own recipe
    "scratch": (2e-3, 5e-3, 1e-2),
    "start": (2e-4, 5e-4, 1e-3, 2e-3),
}
HELD = {"all": {}, "held out": {"holdout": 0.2}}
PLACES = (Path(__file__).with_name("little.json"), Path(__file__).parents[1] / "docs" / "little.md")
HEAD = """\
# 320 photos

clothing10: ten classes of 32 training photos, 100 validation and 120 test photos, by
`python -m benchmarks.little`: one run of `patchword train` a cell. Measured on: {made}.

`{model}`, {epochs:g} epochs from scratch by the recipe `tiny`, or by `finetune` from the same
network after {minutes} minutes on CIFAR-10 (JPEG q75). Rates were chosen on the validation photos,
the test photos chose nothing. Intervals are of 95 %: of a mean over seeds by Student's t over
paired differences, of one seed's accuracy on 120 photos by Wilson.
"""
COURSE = """
## What holds it back

Validation top-1 each time that it was looked at, from the first epochs to the last, and the
training loss at the end, means over seeds. Where the loss is nearly nothing and accuracy has long
stopped to rise, the photos are known by heart: more steps add nothing.

"""


def listed(study, sets):
    """Write the list of clothing10's training and test photos, without its validation photos."""
    folder = study.out / "listed"
    rows = [
        (path.absolute(), path.parent.name, split)
        for split in ("train", "test")
        for path in sorted((sets / PHOTOS / split).glob("*/*"))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return str(folder / "metadata.csv")


def course(folder):
    """Return what a run learnt on the way: its last losses' mean, and each look's accuracy."""
    rows = logged(folder)
    losses = [row["loss"] for row in rows if "loss" in row]
    return {
        "loss": mean(losses[-max(len(losses) // 10, 1) :]),
        "looks": [row["top1"] for row in rows if "loss" not in row],
    }


def everything(study, given):
    """Train every cell, or as many as there is time for."""
    sets, few = given.sets, length(study.steps) if study.steps else {"epochs": EPOCHS}
    begin = few if study.steps else {"minutes": START_MINUTES}
    wide = {"model": MODEL, "image_size": 64, "workers": 0}
    if given.only != "scratch":
        study.cell("before", str(sets / SOURCE), wide, begin)
    starts = {
        "scratch": {"model": MODEL},
        "start": {"init": study.path("before"), "image_size": 64},
    }
    photos, alone = str(sets / PHOTOS), listed(study, sets)
    for begun, words in starts.items():
        if given.only not in (None, begun):
            continue
        rates = {f"{rate:g}": {"lr": rate} for rate in RATES[begun]}
        best = study.choose(begun, "rate", rates, photos, words, few)
        chosen = merged(words, rates[best], few)
        for seed in range(study.seeds):
            name = f"{begun}/{seed}"
            cell = study.cell(name, photos, chosen, {"seed": seed})
            if "views" not in cell:
                found = evaluate(study.path(name), protocol="tta", split="test")
                top1s = [score for score in found.findings[0].scores if score.name == "top-1"]
                cell["views"] = next(score.value for score in top1s if score.under != "as is")
                cell["course"] = course(study.path(name))
            for held, share_ in HELD.items():
                study.cell(f"{begun}/{held}/{seed}", alone, chosen, share_, {"seed": seed})


def top1(found, group):
    """Return the test accuracy of a group's cells by seed, all of them or none."""
    names = [f"{group}/{seed}" for seed in range(found["seeds"])]
    cells = [found["cells"].get(name) for name in names]
    return [cell["scores"]["test"]["top1"] for cell in cells] if all(cells) else []


def page(found):
    """Draw the page from results."""
    parts = [HEAD.format(made=found["made"], model=MODEL, minutes=START_MINUTES, epochs=EPOCHS)]
    if not found["whole"]:
        parts.append("\n**Not all cells are there yet.**\n")
    chosen = {choice["group"]: choice for choice in found["choices"]}
    rows, costs, courses = [], [], []
    for begun in RATES:
        ours = top1(found, begun)
        if not ours:
            continue
        cells = [found["cells"][f"{begun}/{seed}"] for seed in range(found["seeds"])]
        intervals = [cell["scores"]["test"]["interval"] for cell in cells]
        each = ", ".join(f"[{share(low)}, {share(high)}]" for low, high in intervals)
        over = ("", "") if begun == "scratch" else difference(ours, top1(found, "scratch"))
        views = share(mean(cell["views"] for cell in cells))
        seconds = f"{mean(cell['seconds'] for cell in cells):.0f}"
        threads = ", ".join(sorted({str(cell["threads"]) for cell in cells}))
        scores = [average(ours), each, *over, views, seconds, threads]
        rows.append([begun, chosen[begun]["best"], *scores])
        looks = zip(*(cell["course"]["looks"] for cell in cells), strict=True)
        losses = mean(cell["course"]["loss"] for cell in cells)
        courses.append([begun, ", ".join(share(mean(each)) for each in looks), f"{losses:.3f}"])
        whole, held = (top1(found, f"{begun}/{name}") for name in HELD)
        if whole and held:
            costs.append([begun, average(whole), average(held), *difference(held, whole)])
    columns = ["from", "rate", "test top-1 (seeds)", "interval of each", "over scratch", ""]
    parts.append("\n" + table([*columns, "with mirror images", "seconds", "threads"], rows))
    if courses:
        parts.append(COURSE)
        columns = ["from", "validation top-1 on the way", "training loss, last tenth"]
        parts.append(table(columns, courses))
    if costs:
        parts.append("\n## Without validation photos\n\n")
        columns = ["from", "all photos, last weights", "a fifth held out, best", "difference", ""]
        parts.append(table(columns, costs))
    parts.append("\n## Chosen on the validation photos\n\n")
    options = [
        [group, "; ".join(f"{name}: {share(value)}" for name, value in choice["scores"].items())]
        for group, choice in chosen.items()
    ]
    parts.append(table(["from", "validation top-1 by rate"], options))
    return "".join(parts)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="?", default=Path("../shared/sets"))
    parser.add_argument("--only", choices=RATES)
    parser.add_argument("--out", type=Path, default=Path("runs/little"))
    groups = {"before", *RATES}
    return sitting(parser, words, everything, page, {}, groups, PLACES)


if __name__ == "__main__":
    sys.exit(main())
