"""From a check-up to its page: which findings are shown, and in what words."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from patchword.data import SplitCensus
from patchword.diagnosis.checkup import Checkup
from patchword.diagnosis.examine import pixels_of
from patchword.diagnosis.findings import Finding, kind_of, pictures_of
from patchword.pages.doctor import ClassCounts, Doctor, Facts, Figure, Kind, Shown, write_doctor

SHOWN = 24  # findings of a kind, or groups of them
TOGETHER = 4  # pictures of a group
LARGEST = 256  # pixels a side of what is handed to the page
WORDS = {  # kind -> title, and what it means
    "unreadable": (
        "Unreadable",
        "Files that cannot be decoded: cut short, empty, or no pictures. A training skips them and "
        "says so; above one in twenty it refuses.",
    ),
    "scene": (
        "Unusable maps",
        "Masks, boxes or depths that cannot be used: of another size than their picture, with "
        "values that are no class, or unreadable. A training skips these pictures and says so.",
    ),
    "empty": (
        "Nothing known",
        "Pictures of which no pixel has a class or a depth, or on which there is no object. The "
        "latter teach a detector what is not there; the former teach nothing.",
    ),
    "constant": ("Constant", "Pictures of one colour all over, from which nothing can be learnt."),
    "exact": (
        "Duplicates",
        "The same pixels in several files. Across splits, what is learnt is what is asked; under "
        "different labels, one of them is wrong.",
    ),
    "near": (
        "Near duplicates",
        "Nearly the same pixels: encoded again, resized, brightened, cropped or flipped, and far "
        "more alike than the pictures around them.",
    ),
    "label": (
        "Suspect labels",
        "None of the fifteen pictures most like these bears their label. Many are only hard: look "
        "before you leave one out; none of them is in the quarantine.",
    ),
    "suffix": (
        "Misnamed",
        "Files of another format than their names say; they are read as they are.",
    ),
    "mode": (
        "Unusual kinds",
        "Pictures stored in a way that fewer than one in twenty are: depth, colours, transparency.",
    ),
    "rotated": (
        "Turned",
        "Stored turned or mirrored, with the EXIF tag that says so; they are read upright.",
    ),
}


WHAT = {
    **{"class": "Classes", "labels": "Labels", "shares": "Classes", "values": "Values"},
    **{"mask": "Classes of pixels", "objects": "Classes of objects", "depth": "Depths"},
    "panoptic": "Classes of segments",
}


def write_page(found: Checkup, path: Path) -> None:
    """Write the page about a data set."""
    write_doctor(page(found), path)


def page(found: Checkup) -> Doctor:
    """Choose what the page about a data set shows."""
    data, total = found.examined.data, len(found.examined.rows)
    left = len(found.quarantine)
    train = next(iter(found.census.values()))
    return Doctor(
        title=f"Doctor: {data.name}",
        subtitle="What is in the data, and what is wrong with it; nothing in it was changed",
        headline=(
            Figure(label="Pictures", value=f"{total:,}", note=f"{train.count:,} to train on"),
            Figure(label=WHAT[data.train.kind], value=f"{len(data.train.classes):,}"),
            Figure(
                label="Findings",
                value=f"{len(found.findings) + len(found.remarks):,}",
                note=", ".join(f"{n:,} {kind}" for kind, n in found.counts.items()),
            ),
            Figure(label="In quarantine", value=f"{left:,}", note="quarantine.csv lists them"),
        ),
        notes=(
            *(f"{remark.where}: {remark.why}" for remark in found.remarks),
            *data.notes,
            f"Wrong labels: {found.labels}.",
            *(f"Left out: {line}." for line in found.omitted),
        ),
        kinds=tuple(
            _kind(found, kind, list(findings))
            for kind, findings in groupby(found.findings, key=lambda f: f.kind)
        ),
        splits=tuple(found.census),
        classes=_classes(found),
        facts=tuple(_facts(found, name, split) for name, split in found.census.items()),
    )


def _kind(found: Checkup, kind: str, findings: Sequence[Finding]) -> Kind:
    title, lead = WORDS[kind]
    groups = [
        list(g)
        for _, g in groupby(findings, key=lambda f: (f.group, f.row if f.group is None else 0))
    ]
    across = [g for g in groups if len({found.examined.locate(f.row)[0] for f in g}) > 1]
    ordered = [*across, *(g for g in groups if g not in across)]
    return Kind(
        id=kind,
        title=title,
        lead=lead,
        count=len(findings),
        groups=tuple(
            tuple(_shown(found, f) for f in group[:TOGETHER]) for group in ordered[:SHOWN]
        ),
    )


def _shown(found: Checkup, finding: Finding) -> Shown:
    examined, row = found.examined, finding.row
    return Shown(
        picture=_thumbnail(found, row) if examined.readable[row] else None,
        name=examined.name(row),
        label=examined.label(row),
        split=examined.locate(row)[0],
        why=finding.why if finding.group is None else finding.why.partition(", ")[2],
    )


def _thumbnail(found: Checkup, row: int) -> UInt8[np.ndarray, "h w c"]:
    pixels = pixels_of(found.examined, row)
    step = max(1, max(pixels.shape[1:]) // LARGEST)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()[::step, ::step])


def _classes(found: Checkup) -> tuple[ClassCounts, ...]:
    remarks = {
        name: "; ".join(f"{r.where}: {r.why}" for r in found.remarks if _of(r.where) == name)
        for name in {_of(remark.where) for remark in found.remarks}
    }
    by_split = pictures_of(found.examined).values()
    counts = list(zip(*(each.tolist() for each in by_split), strict=True))
    names = found.examined.data.train.classes if counts else ()
    return tuple(
        ClassCounts(name=name, counts=each, remark=remarks.get(name, ""))
        for name, each in zip(names, counts, strict=True)
    )


def _of(where: str) -> str:
    return where.partition("/")[2]


def _facts(found: Checkup, name: str, split: SplitCensus) -> Facts:
    sizes = {"smallest": split.smallest, "median": split.median, "largest": split.largest}
    rows = found.examined.rows
    inside = np.flatnonzero(found.examined.split == list(found.census).index(name)).tolist()
    kinds = [kind_of(rows[row]) for row in inside if not rows[row].error]
    return Facts(
        title=name,
        rows=(
            ("pictures", f"{split.count:,}"),
            *((f"{word} size", f"{s[0]} x {s[1]}") for word, s in sizes.items() if s),
            *((kind, f"{kinds.count(kind):,}") for kind in dict.fromkeys(kinds)),
            *((note, f"{count:,}") for note, count in split.notes),
            ("unreadable", f"{len(split.unreadable):,}"),
        ),
    )
