"""From what one pass saw to findings: what is wrong with which picture, class or split."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import PurePath

import numpy as np
from jaxtyping import Int64

from patchword.data import Source
from patchword.data.census import per_class
from patchword.data.pixels import FORMATS
from patchword.data.scenes import KINDS as SCENES
from patchword.diagnosis.duplicates import Group
from patchword.diagnosis.examine import Examined, Looked
from patchword.diagnosis.labels import Suspects

KINDS = {  # kind -> what a table calls it, the gravest first
    "unreadable": "cannot be read",
    "scene": "its map or boxes cannot be used",
    "constant": "one colour all over",
    "empty": "nothing is known on it",
    "exact": "same pixels as another",
    "near": "nearly the same pixels as another",
    "label": "likely a wrong label",
    "suffix": "named as another format",
    "mode": "of an unusual kind",
    "rotated": "stored turned, shown upright",
}
ODD = 0.05  # share of the pictures up to which a kind of picture is unusual
RARE = 0.2  # share of the median class, in training pictures, below which a class is rare
SAME_FORMAT = {"MPO": "JPEG"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is wrong with a picture; `group` numbers those that show the same."""

    kind: str
    row: int
    why: str
    group: int | None = None


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What is wrong with a class: of a split, or of all."""

    kind: str  # stray, missing, rare
    where: str  # split/class
    why: str


def of_pictures(
    examined: Examined, groups: Sequence[Group], suspects: Suspects | None, rows: np.ndarray
) -> list[Finding]:
    """List what is wrong with pictures, kind by kind.

    Args:
        examined: the pictures.
        groups: duplicates.
        suspects: likely wrong labels, if they were looked for,
        rows: among these.
    """
    found = [*_single(examined), *_doubled(examined, groups)]
    if suspects is not None:
        found += _suspected(examined, suspects, rows)
    order = list(KINDS)
    return sorted(found, key=lambda f: order.index(f.kind))


def _single(examined: Examined) -> Iterator[Finding]:
    usual = _usual(examined.rows)
    for row, looked in enumerate(examined.rows):
        header = looked.header
        if looked.error:
            why = looked.error.removeprefix(f"{examined.name(row)}: ")
            yield Finding(kind="unreadable", row=row, why=why)
            continue
        if looked.scene_error:
            yield Finding(kind="scene", row=row, why=looked.scene_error)
        if looked.classes == ():
            yield Finding(kind="empty", row=row, why="no pixel, box or reading that counts")
        if examined.constant[row]:
            yield Finding(kind="constant", row=row, why=f"levels differ by {looked.spread} of 255")
        if header.orientation > 1:
            yield Finding(kind="rotated", row=row, why=f"EXIF orientation {header.orientation}")
        said = PurePath(examined.name(row)).suffix.lower()
        named = next((name for name, ends in FORMATS.items() if said in ends), None)
        stored = SAME_FORMAT.get(header.format, header.format)
        if named and stored and named != stored:
            yield Finding(kind="suffix", row=row, why=f"is {stored}, called {said}")
        if kind_of(looked) not in usual:
            yield Finding(kind="mode", row=row, why=", ".join((kind_of(looked), *header.notes)))


def kind_of(looked: Looked) -> str:
    """Name a picture's mode and depth, as in `RGB, 8 bits`."""
    return f"{looked.header.mode}, {looked.header.bits} bits"


def _usual(rows: Sequence[Looked]) -> set[str]:
    counts = Counter(kind_of(row) for row in rows if not row.error)
    return {kind for kind, count in counts.items() if count > ODD * counts.total()}


def _doubled(examined: Examined, groups: Sequence[Group]) -> Iterator[Finding]:
    for number, group in enumerate(groups):
        splits = {examined.locate(row)[0] for row in group.rows}
        labels = {examined.known(row) for row in group.rows}
        kind = "exact" if group.exact else "near"
        others = [examined.name(row) for row in group.rows]
        for row in group.rows:
            first = next(name for name in others if name != examined.name(row))
            more = f" and {len(others) - 2} more" if len(others) > 2 else ""
            across = ", across splits" if len(splits) > 1 else ""
            strange = ", under different labels" if len(labels) > 1 else ""
            why = f"as {first}{more}{across}{strange}"
            yield Finding(kind=kind, row=row, why=why, group=number)


def _suspected(examined: Examined, suspects: Suspects, rows: np.ndarray) -> Iterator[Finding]:
    classes = examined.data.train.classes
    for place, likely, share in zip(*suspects[1:], strict=True):
        row = int(rows[place])
        words = f"labelled {examined.label(row)}; {share:.0%} of those like it are"
        yield Finding(kind="label", row=row, why=f"{words} {classes[int(likely)]}")


def pictures_of(examined: Examined) -> dict[str, Int64[np.ndarray, " classes"]]:
    """Count the pictures of each class, split by split: of scenes, those that show it."""
    train = examined.data.train
    if train.kind not in SCENES or train.kind == "depth":
        return {split: per_class(source) for split, source in examined.sources.items()}
    counts = {name: np.zeros(len(train.classes), np.int64) for name in examined.sources}
    for row, looked in enumerate(examined.rows):
        counts[examined.locate(row)[0]][list(looked.classes or ())] += 1
    return counts


def of_classes(
    sources: Mapping[str, Source], counts: Mapping[str, Int64[np.ndarray, " classes"]] | None = None
) -> list[Remark]:
    """List classes that differ between splits, and those of few training pictures.

    Values have no classes, and no remarks; what masks show is only known once they are read.

    Args:
        sources: by split.
        counts: pictures of each class in each split; by their labels if None.
    """
    if counts is None:
        counts = {split: per_class(source) for split, source in sources.items()}
    classes = sources["train"].classes if len(counts["train"]) else ()
    train = counts["train"]
    known = [name for name, count in zip(classes, train, strict=True) if count]
    usual = float(np.median(train[train > 0])) if known else 0.0
    found: list[Remark] = []
    for split, each in counts.items():
        for name, here, there in zip(classes, each.tolist(), train.tolist(), strict=True):
            where = f"{split}/{name}"
            if here and not there:
                like = _like(name, known)
                why = f"{here:,} pictures of a class that training does not know{like}"
                found.append(Remark(kind="stray", where=where, why=why))
            elif there and not here:
                found.append(Remark(kind="missing", where=where, why="no picture of it here"))
            elif split == "train" and 0 < here < RARE * usual:
                why = f"{here:,} pictures; the median class has {usual:,.0f}"
                found.append(Remark(kind="rare", where=where, why=why))
    return found


def _like(name: str, known: Sequence[str]) -> str:
    folded = {word.casefold(): word for word in known}
    like = get_close_matches(name.casefold(), folded, n=1)
    return f"; is it {folded[like[0]]!r}?" if like else ""


def quarantined(examined: Examined, findings: Sequence[Finding]) -> list[Finding]:
    """Choose what a training should leave out: what is certain, and no more than needed.

    Of pictures that show the same, one stays: one of the latest split, so that nothing that scores
    a model was trained on; none in training where their labels differ. Suspect labels are left to
    the eye.
    """
    chosen = [f for f in findings if f.kind in ("unreadable", "scene", "constant")]
    doubled = [f for f in findings if f.group is not None]
    doubled.sort(key=lambda f: (f.group, -int(examined.split[f.row]), f.row))
    first = {b.row for a, b in pairwise([None, *doubled]) if b and (not a or a.group != b.group)}
    labels: dict[int | None, set[bytes]] = {}
    for f in doubled:
        labels.setdefault(f.group, set()).add(examined.known(f.row))
    for f in doubled:
        disputed = len(labels[f.group]) > 1 and examined.split[f.row] == 0
        if f.row not in first or disputed:
            chosen.append(f)
    once = {f.row: f for f in reversed(chosen)}
    return [once[row] for row in sorted(once)]
