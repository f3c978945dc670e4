"""From what stands beside pictures to what is to be learnt: the kind is recognised, never asked.

One word per picture is its class; a list is its labels; names with numbers are shares where the
numbers of each picture sum to 1, and labels where they are 0 and 1; and numbers with fractions are
values. The class index is read from the training pictures: whole numbers in their order, all other
names sorted as words.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from patchword.data.source import Kind, Targets
from patchword.errors import DataError

Raw = str | float | list[str] | Mapping[str, float]
WRONG = 0.05  # share of the rows that may be left out
SLACK = 0.01  # by which shares may sum to another number than 1
NAMED = 20  # places that a note names


class Row(NamedTuple):
    """A picture in a list of them."""

    place: str  # what a complaint calls it: `photos.csv:17`
    raw: Any  # what is known of it, a `Raw` if it is right
    picture: Any  # where it is, as the list's source reads it


class Fault(NamedTuple):
    """A row that is left out, and why."""

    place: str
    reason: str


def recognise(rows: Sequence[Row]) -> Kind:
    """Tell what is known of training pictures."""
    raws = [row.raw for row in rows]
    if any(isinstance(raw, list) for raw in raws):
        return "labels"
    named = [list(map(as_number, raw.values())) for raw in raws if isinstance(raw, Mapping)]
    weights = [[n for n in numbers if n is not None] for numbers in named if None not in numbers]
    if weights:
        binary = _most(all(number in (0, 1) for number in numbers) for numbers in weights)
        sums = (abs(sum(numbers) - 1) < SLACK and min(numbers) >= 0 for numbers in weights)
        if _most(sums):
            return "class" if binary else "shares"
        return "labels" if binary else "values"
    numbers = [number for raw in raws if (number := as_number(raw)) is not None]
    fractions = any(number % 1 for number in numbers)
    return "values" if fractions and _most(as_number(raw) is not None for raw in raws) else "class"


def _most(answers: Iterable[bool]) -> bool:
    """Tell whether all but a few wrong rows say yes."""
    found = list(answers)
    return sum(found) >= (1 - WRONG) * len(found)


def as_number(raw: Any) -> float | None:
    """Return a cell's number; None where it is none, or not finite."""
    try:
        number = float(raw)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def labelled(
    splits: Mapping[str, Sequence[Row]],
    kind: Kind | None = None,
    *,
    name: str = "value",
    classes: tuple[str, ...] = (),
) -> tuple[dict[str, tuple[list[Row], Targets]], list[Fault]]:
    """Turn rows into targets; return those of each split that are right, and the others.

    Args:
        splits: rows by split, "train" among them.
        kind: what is known, where it is not to be recognised.
        name: of values that have none.
        classes: in their order, where it is known from elsewhere.

    Raises:
        DataError: there is a single class, or a split has a class that the training rows lack.
    """
    kind = kind or recognise(splits["train"])
    faults: list[Fault] = []
    right: dict[str, list[tuple[Row, dict[str, float]]]] = {}
    for split, rows in splits.items():
        right[split] = []
        for row in rows:
            single = kind == "values" and not isinstance(row.raw, Mapping)
            found = weighed({name: row.raw} if single else row.raw, kind)
            if isinstance(found, str):
                faults.append(Fault(row.place, found))
            else:
                right[split].append((row, found))
    classes = classes or index((found for _, found in right["train"]), kind)
    made: dict[str, tuple[list[Row], Targets]] = {}
    for split, pairs in right.items():
        if split == "train" or pairs:
            made[split] = [row for row, _ in pairs], encoded(pairs, classes, kind)
    return made, faults


def weighed(raw: Any, kind: Kind) -> dict[str, float] | str:
    """Return the names of a row with a number each, or what is wrong with it."""
    if isinstance(raw, Mapping):
        numbers = {str(name): as_number(value) for name, value in raw.items()}
        bad = [name for name, number in numbers.items() if number is None]
        if bad:
            return f"{bad[0]} is {raw[bad[0]]!r}, no number"
        found = {name: number for name, number in numbers.items() if number is not None}
        return _of_kind(found, kind)
    if isinstance(raw, list):
        return {str(name): 1.0 for name in raw} if kind == "labels" else "has several labels"
    if raw is None or str(raw) == "":
        return {} if kind == "labels" and raw == "" else "has no label"
    return {_word(raw): 1.0} if kind in ("class", "labels") else f"{raw!r} is no share"


def _of_kind(found: dict[str, float], kind: Kind) -> dict[str, float] | str:
    if kind == "values":
        return found
    if kind == "shares":
        total = sum(found.values())
        if min(found.values(), default=-1) < 0 or abs(total - 1) > SLACK:
            return f"its shares sum to {total:g}, not to 1"
        return {name: value / total for name, value in found.items()}
    ones = {name: value for name, value in found.items() if value == 1}
    if any(value not in (0, 1) for value in found.values()):
        return "has numbers other than 0 and 1"
    if kind == "class" and len(ones) != 1:
        return f"has {len(ones)} classes"
    return found if kind == "labels" else ones


def _word(raw: Any) -> str:
    return str(raw).lower() if isinstance(raw, bool) else str(raw)


def index(rows: Iterable[Mapping[str, float]], kind: Kind) -> tuple[str, ...]:
    """Return the names of the classes in their order; values keep theirs.

    Raises:
        DataError: there are fewer than it takes to learn something.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    if kind == "values" and names:
        return tuple(names)
    least = 1 if kind == "labels" else 2
    if len(names) < least:
        found = f"a single class, {next(iter(names))!r}" if names else "no labels"
        raise DataError(f"the training pictures have {found}; wanted: {least} at least")
    whole = all(name.isascii() and name.isdecimal() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if whole else None))


def encoded(
    pairs: Sequence[tuple[Row, Mapping[str, float]]], classes: tuple[str, ...], kind: Kind
) -> Targets:
    """Write rows as numbers, a column for each class.

    Raises:
        DataError: a row has a class that is not one of them.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    values = np.zeros((len(pairs), len(classes)), dtype=np.float32)
    for number, (row, found) in enumerate(pairs):
        strange = [name for name in found if name not in numbers]
        if strange:
            raise DataError(
                f"{row.place} has {strange[0]!r}, which none of the training pictures has; "
                "add some there or remove it here"
            )
        for name, value in found.items():
            values[number, numbers[name]] = value
    if kind == "values":
        return Targets(classes, np.zeros(len(pairs), dtype=np.int64), kind, values)
    weights = values / np.maximum(values.sum(axis=0), 1) if kind == "labels" else values
    labels = weights.argmax(axis=1).astype(np.int64)
    return Targets(classes, labels, kind, None if kind == "class" else values)


def note(faults: Sequence[Fault], count: int) -> tuple[str, ...]:
    """Say which rows were left out; in how many sentences depends on the reasons.

    Args:
        faults: the rows.
        count: of all rows, the wrong ones included.

    Raises:
        DataError: they are too many to go on.
    """
    if not faults:
        return ()
    first = f"{faults[0].place}: {faults[0].reason}"
    if len(faults) > WRONG * count:
        raise DataError(
            f"{len(faults)} of {count} rows are wrong, more than {WRONG:.0%}: {first}; correct "
            "or remove them"
        )
    reasons = Counter(fault.reason for fault in faults)
    sentences: list[str] = []
    for reason, times in reasons.most_common():
        places = [fault.place for fault in faults if fault.reason == reason]
        more = ", ..." if times > NAMED else ""
        rows = "1 row is" if times == 1 else f"{times:,} rows are"
        sentences.append(f"{rows} left out ({reason}): {'; '.join(places[:NAMED])}{more}")
    return tuple(sentences)
