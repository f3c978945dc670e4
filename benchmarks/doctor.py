"""What `patchword doctor` finds in data sets that were damaged on purpose, and in whole ones.

    python -m benchmarks.doctor damaged DATA ... --seeds 11 12 13 --work FOLDER [--minutes 2]
    python -m benchmarks.doctor whole DATA ...

The first damages a copy of each set per seed (benchmarks/damage.py) and prints precision and recall
per kind, all seeds together. Recall: the share of the damages that were found. Precision: the share
of the findings that are damages, strictly: what the whole set has of its own counts against it, and
its number is printed beside it, from the undamaged copy of the same pictures. A pair of duplicates
counts as found where both files stand in one group, and a group as right where it holds such a
pair. With `--minutes` a model is trained on each damaged copy first, wrong labels and all, as by a
user who has no other data, and labels are judged by its features; no class is renamed then, as no
training starts on such data. The second prints the findings on whole sets, and seconds.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.damage import KINDS, Damage, damage
from patchword.api import train
from patchword.diagnosis.checkup import Checkup, checkup
from patchword.errors import DataError

SPLITS = {"train": "train", "validation": "val", "test": "test"}
OF_CLASSES = {"class": "stray", "rare": "rare"}


def score(found: Checkup, truth: list[Damage], kind: str) -> tuple[int, int, int, int]:
    """Return damages found, damages, findings right, findings."""
    rows = [row for row in truth if row.kind == kind]
    if kind in OF_CLASSES:
        said = {
            f"{SPLITS[split]}/{name}"
            for remark in found.remarks
            if remark.kind == OF_CLASSES[kind]
            for split, _, name in [remark.where.partition("/")]
        }
        hit = sum(row.file in said for row in rows)
        return hit, len(rows), hit, len(said)
    if kind in ("exact", "near"):
        return pairs(found, rows, kind)
    said = {found.examined.name(f.row) for f in found.findings if f.kind == kind}
    hit = sum(row.file in said for row in rows)
    return hit, len(rows), hit, len(said)


def pairs(found: Checkup, rows: list[Damage], kind: str) -> tuple[int, int, int, int]:
    groups = [
        {found.examined.name(row) for row in group.rows}
        for group in found.groups
        if group.exact == (kind == "exact")
    ]
    hit = sum(any({r.file, r.original} <= group for group in groups) for r in rows)
    right = sum(any({r.file, r.original} <= group for r in rows) for group in groups)
    return hit, len(rows), right, len(groups)


def damaged(
    data: str, seeds: list[int], work: Path, limit: int, minutes: float | None, model: str | None
) -> None:
    chosen = tuple(kind for kind in KINDS if kind != "class" or not minutes)
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    ways: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for seed in seeds:
        place, run = work / f"{Path(data).name}-{seed}", None
        for kinds, out in ((chosen, place / "damaged"), ((), place / "whole")):
            out.mkdir(parents=True)
            truth = damage(data, out, seed=seed, limit=limit, share=0.01, kinds=kinds)
            if kinds and minutes:
                where = str(out / "data")
                run = train(where, out=place / "run", minutes=minutes, seed=seed, model=model).path
            found = checkup(out / "data", run=run)
            for kind in chosen:
                counts = score(found, truth, kind)
                if kinds:
                    totals[kind] = [a + b for a, b in zip(totals[kind], (*counts, 0), strict=True)]
                else:
                    totals[kind][4] += counts[3]
            if kinds:
                for row in truth:
                    if row.kind == "near":
                        how = row.how.partition(",")[0]
                        ways[how][0] += pairs(found, [row], "near")[0]
                        ways[how][1] += 1
                print(f"<!-- {data}, seed {seed}: labels {found.labels} -->")
    for kind, (hit, all_, right, said, whole) in totals.items():
        precision = f"{right / said:.0%} ({right}/{said})" if said else "none"
        recall = f"{hit / all_:.0%} ({hit}/{all_})" if all_ else "none"
        print(f"| {Path(data).name} | {kind} | {precision} | {recall} | {whole} |", flush=True)
    print("near, by way:", {how: f"{hit}/{all_}" for how, (hit, all_) in sorted(ways.items())})


def whole(data: str) -> None:
    start = time.perf_counter()
    try:
        found = checkup(data)
    except DataError as error:
        print(f"| {Path(data).name} | | | refused: {error} | | |", flush=True)
        return
    seconds = time.perf_counter() - start
    counts = dict(found.counts)
    groups = {"exact groups": sum(g.exact for g in found.groups)}
    groups["near groups"] = len(found.groups) - groups["exact groups"]
    across = sum("across splits" in f.why for f in found.findings)
    remarks = [(remark.kind, remark.where) for remark in found.remarks][:4]
    cells = (
        Path(data).name,
        f"{len(found.examined.rows):,}",
        f"{seconds:.1f} s",
        f"{counts} {groups}, {across} across splits",
        remarks,
        found.labels,
    )
    print("|", *(f"{cell} |" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["damaged", "whole"])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--limit", type=int, default=2000, help="pictures of each split")
    parser.add_argument("--minutes", type=float, help="of training, for features of a model")
    parser.add_argument("--model", help="that is trained; what `patchword train` picks if not said")
    given = parser.parse_args()
    if given.what == "damaged":
        print("| set | kind | precision | recall | on the whole copy |")
        print("| --- |" + " --- |" * 4)
        for data in given.data:
            damaged(data, given.seeds, given.work, given.limit, given.minutes, given.model)
    else:
        print("| set | pictures | time | findings | remarks | labels |\n| --- |" + " --- |" * 5)
        for data in given.data:
            whole(data)


if __name__ == "__main__":
    main()
