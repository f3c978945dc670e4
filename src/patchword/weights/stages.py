"""Blocks that we count from end to end, where others count them by stage or by halves."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

from patchword.weights.formats import Count


class Place(NamedTuple):
    """Where a block is in a network of stages."""

    number: int  # among all blocks
    stage: int
    row: int  # in its stage; -1 if it leads there from the stage before
    before: int  # how many rows the stage before has


def counted(
    unit: str, name: Callable[[Place, int], str], *, leads: str, halves: tuple[str, ...] = ("",)
) -> Count:
    """Return how a project counts the blocks that the rules, as we do, call `blocks.#`.

    Args:
        unit: pattern of what stands for a block, or for a half of it, in a name of theirs. Units
            run in the order of the numbers in it; one without a last number leads its stage.
        name: of theirs, for the unit that is the half of this number at this place.
        leads: pattern of what the rules call tensors that only blocks between stages have, around
            the block's number.
        halves: what the rules call the halves of a block, where each is a unit.
    """

    def load(names: Iterable[str]) -> dict[str, str]:
        found = {name: re.search(unit, name) for name in names}
        units = sorted({match[0] for match in found.values() if match}, key=_numbers)
        turns = {
            old: f"blocks.{i // len(halves)}{halves[i % len(halves)]}."
            for i, old in enumerate(units)
        }
        return {
            name: name.replace(m[0], turns[m[0]], 1) if m else name for name, m in found.items()
        }

    def save(names: Iterable[str]) -> dict[str, str]:
        names = list(names)
        turns = {
            f"blocks.{place.number}{half}.": name(place, i)
            for place in _places(names, leads)
            for i, half in enumerate(halves)
        }
        ours = re.compile(rf"blocks\.\d+(?:{'|'.join(map(re.escape, halves))})\.")
        return {old: ours.sub(lambda match: turns[match[0]], old) for old in names}

    return Count(load, save)


def _numbers(unit: str) -> tuple[int, ...]:
    return (*map(int, re.findall(r"\d+", unit)), -1)[:2]


def _places(names: list[str], leads: str) -> list[Place]:
    total = {int(number) for number in re.findall(r"\bblocks\.(\d+)\.", " ".join(names))}
    starts = {int(number) for number in re.findall(leads, " ".join(names))}
    edges = [0, *sorted(starts), len(total)]
    rows = [end - start - (start in starts) for start, end in pairwise(edges)]
    return [
        Place(index, stage, index - start - (start in starts), rows[stage - 1])
        for stage, (start, end) in enumerate(pairwise(edges))
        for index in range(start, end)
    ]
