"""Rules: one tensor, or one per block, under another project's name and under ours.

In a rule `#` stands for a number and `*` for the rest of a name, in the same order on both sides.
Where one side counts otherwise, `{#+1}` stands for the number and 1, `{2#}` for its double,
`{2#-1}` for both, and `{#+1:02}` for two digits.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple

from torch import Tensor

Theirs = str | tuple[str, ...]


class View(NamedTuple):
    """The same numbers in another shape or order, both ways."""

    load: Callable[[Tensor], Tensor]  # theirs to ours
    save: Callable[[Tensor], Tensor]  # ours to theirs


POINTWISE = View(lambda kernel: kernel.flatten(1), lambda matrix: matrix[:, :, None, None])
"""Their 1x1 convolution is our linear layer."""


@dataclass(frozen=True)
class Rule:
    """Their name and ours.

    Several names of theirs are parts of one tensor of ours along its first axis, as queries, keys
    and values are: equal ones, or in the proportion of `shares`. A view is taken of each part by
    itself.
    """

    theirs: Theirs
    ours: str
    view: View | None = None
    shares: tuple[int, ...] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Their names."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    def cut(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Return the parts of one of our tensors."""
        if len(self.parts) == 1:
            return (tensor,)
        shares = self.shares or (1,) * len(self.parts)
        return tensor.split([len(tensor) * share // sum(shares) for share in shares])


Rules = tuple[Rule, ...]


def within(theirs: str, ours: str, *rules: Rule) -> Rules:
    """Return rules about a part of a network as rules about that part at its place."""
    return tuple(
        replace(
            rule,
            theirs=tuple(f"{theirs}.{name}" for name in rule.parts),
            ours=f"{ours}.{rule.ours}",
        )
        for rule in rules
    )


def modules(names: Mapping[str, str] | Mapping[Theirs, str]) -> Rules:
    """Return rules about all tensors of modules, by their names of these and ours."""
    return tuple(
        Rule(tuple(f"{part}.*" for part in Rule(theirs, ours).parts), f"{ours}.*")
        for theirs, ours in names.items()
    )


def multihead(theirs: str, ours: str) -> Rules:
    """Return rules about torch's `MultiheadAttention` as rules about `layers.Attention`."""
    return within(
        theirs,
        ours,
        Rule("in_proj_weight", "qkv.weight"),
        Rule("in_proj_bias", "qkv.bias"),
        Rule("out_proj.*", "proj.*"),
    )


def normed(names: Mapping[str, str], linear: str, norm: str, view: View | None = None) -> Rules:
    """Return rules about layers' `Normed` maps, by their names of these and ours.

    Args:
        names: theirs -> ours.
        linear: what they call the map in it.
        norm: what they call its batch norm.
        view: of the map's weights.
    """
    return tuple(
        rule
        for theirs, ours in names.items()
        for rule in (
            Rule(f"{theirs}.{linear}.weight", f"{ours}.linear.weight", view),
            Rule(f"{theirs}.{norm}.*", f"{ours}.bn.*"),
        )
    )


WILD = re.compile(r"\{(?P<times>\d*)#(?P<more>[+-]\d+)?(?::0(?P<digits>\d))?\}|#|\*")


class Hole(NamedTuple):
    """What stands for a number in one side of a rule."""

    times: int
    more: int
    digits: int

    def read(self, text: str) -> int | None:
        """Return the number that a text stands for, if it does for one."""
        number, rest = divmod(int(text) - self.more, self.times)
        return None if rest or number < 0 else number

    def write(self, number: int) -> str | None:
        """Return the text that stands for a number, if there is one."""
        written = number * self.times + self.more
        return None if written < 0 else f"{written:0{self.digits}}"


@lru_cache(1 << 16)  # a file is held against many models
def rename(name: str, old: str, new: str) -> str | None:
    """Return a name under a pattern's other side, or None where the pattern is not about it."""
    (pattern, holes), (_, others) = _read(old), _read(new)
    match = pattern.fullmatch(name)
    if match is None:
        return None
    written: list[str] = []
    for text, hole, other in zip(match.groups(), holes, others, strict=False):
        seen: str | None = text
        if hole is not None and other is not None:
            number = hole.read(text)
            seen = None if number is None else other.write(number)
        if seen is None:
            return None
        written.append(seen)
    left = iter(written)
    return WILD.sub(lambda _: next(left), new)


@cache
def _read(pattern: str) -> tuple[re.Pattern[str], tuple[Hole | None, ...]]:
    """Return what matches a side of a rule, and its numbers; None for the rest of a name."""
    wild = [*WILD.finditer(pattern)]
    fixed = [re.escape(text) for text in WILD.split(pattern)[:: WILD.groups + 1]]
    found = [r"(.+)" if w.group() == "*" else r"(\d+)" for w in wild]
    holes = (
        None
        if w.group() == "*"
        else Hole(int(w["times"] or 1), int(w["more"] or 0), int(w["digits"] or 0))
        for w in wild
    )
    return re.compile("".join(map("".join, zip(fixed, [*found, ""], strict=True)))), tuple(holes)
