"""Weights under other names.

A `Format` is how one outside project names the tensors of one of our classifiers: a list of
rules that are read both ways, so every format that loads also saves. In a rule `#` stands for a
number and `*` for the rest of a name, in the same order on both sides. Where one side counts
otherwise, `{#+1}` stands for the number and 1, `{2#}` for its double, `{2#+1}` for both.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from patchword.errors import WeightsError

Tensors = Mapping[str, Tensor]


class View(NamedTuple):
    """The same numbers in another shape or order, both ways."""

    load: Callable[[Tensor], Tensor]  # theirs to ours
    save: Callable[[Tensor], Tensor]  # ours to theirs


POINTWISE = View(lambda kernel: kernel.flatten(1), lambda matrix: matrix[:, :, None, None])
"""Their 1x1 convolution is our linear layer."""


@dataclass(frozen=True)
class Rule:
    """One tensor, or one per block, under their name and under ours.

    Several names of theirs are parts of one tensor of ours along its first axis, as queries, keys
    and values are: equal ones, or in the proportion of `shares`. A view is taken of each part by
    itself.
    """

    theirs: str | tuple[str, ...]
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


WILD = re.compile(r"\{(\d*)#(?:\+(\d+))?\}|#|\*")


class Count(NamedTuple):
    """Names that count blocks otherwise than the rules do, as from end to end of all stages.

    How they count depends on how many blocks there are, so both take all names at once.
    """

    load: Callable[[Iterable[str]], dict[str, str]]  # theirs, each with the name in the rules
    save: Callable[[Iterable[str]], dict[str, str]]  # names in the rules, each with theirs


def normed(
    parts: Mapping[str, str], linear: str, norm: str, view: View | None = None
) -> list[Rule]:
    """Return the rules about layers' `Normed` maps: our names of them, and theirs.

    Args:
        parts: ours -> theirs.
        linear: what they call the map in it.
        norm: what they call its batch norm.
        view: of the map's weights.
    """
    return [
        rule
        for ours, theirs in parts.items()
        for rule in (
            Rule(f"{theirs}.{linear}.weight", f"{ours}.linear.weight", view),
            Rule(f"{theirs}.{norm}.*", f"{ours}.bn.*"),
        )
    ]


def rename(name: str, old: str, new: str) -> str | None:
    """Return a name under a pattern's other side, or None where the pattern is not about it."""
    (pattern, counts), (_, others) = _read(old), _read(new)
    match = pattern.fullmatch(name)
    if match is None:
        return None
    found: list[int | str] = []
    for text, count in zip(match.groups(), counts, strict=True):
        number, rest = (text, 0) if count is None else divmod(int(text) - count[1], count[0])
        if rest or (isinstance(number, int) and number < 0):
            return None
        found.append(number)
    written = iter(
        str(number if count is None else int(number) * count[0] + count[1])
        for number, count in zip(found, others, strict=False)
    )
    return WILD.sub(lambda _: next(written), new)


@cache
def _read(pattern: str) -> tuple[re.Pattern[str], tuple[tuple[int, int] | None, ...]]:
    """Return what matches a side of a rule; by what its numbers are multiplied and raised."""
    wild = [*WILD.finditer(pattern)]
    fixed = [re.escape(text) for text in WILD.split(pattern)[:: WILD.groups + 1]]
    holes = [r"(.+)" if w.group() == "*" else r"(\d+)" for w in wild]
    counts = (None if w.group() == "*" else (int(w[1] or 1), int(w[2] or 0)) for w in wild)
    return re.compile("".join(map("".join, zip(fixed, [*holes, ""], strict=True)))), tuple(counts)


class Format:
    """One outside project's names.

    Args:
        name: of the project.
        rules: about the backbone's tensors, named as in the backbone.
        head: about the classifier's; the names of ours begin with `head.`.
        root: what may stand before their backbone's names; a classifier has the first that fits.
        ignore: their tensors, without the root, that have no part in our network.
        derived: makes those of their tensors that a backbone's config decides, such as tables of
            indices, named without the root; they are written, and ignored when read.
        copies: says which of a backbone's tensors they keep under a second name: second to first,
            without the root. They are written twice; `ignore` the second when read.
        count: how their names are turned into those on the rules' left side, and back.
    """

    def __init__(
        self,
        name: str,
        *rules: Rule,
        head: tuple[Rule, ...] = (),
        root: tuple[str, ...] = ("",),
        ignore: tuple[str, ...] = (),
        derived: Callable[[Any], Tensors] | None = None,
        copies: Callable[[Any], Mapping[str, str]] | None = None,
        count: Count | None = None,
    ) -> None:
        self.name, self.root, self.ignore, self.derived = name, root, ignore, derived
        self.copies, self.count = copies, count or Count(_as_they_are, _as_they_are)
        backbone = tuple(replace(rule, ours=f"backbone.{rule.ours}") for rule in rules)
        self.rules, self.head = backbone, head

    def _bare(self, name: str) -> str:
        root = next((r for r in self.root if r and name.startswith(r)), "")
        return name.removeprefix(root)

    def _ours(self, name: str) -> tuple[str, int, Rule] | None:
        """Return our name for one of theirs, which part of it this is, and by which rule."""
        for rule in (*self.rules, *self.head):
            bare = self._bare(name) if rule in self.rules else name
            for part, pattern in enumerate(rule.parts):
                new = rename(bare, pattern, rule.ours)
                if new is not None:
                    return new, part, rule
        return None

    def ignores(self, name: str) -> bool:
        """Tell whether a tensor of theirs is known to have no part in our network."""
        return any(rename(self._bare(name), pattern, "") == "" for pattern in self.ignore)

    def knows(self, names: Iterable[str]) -> bool:
        """Tell whether all names are of this format."""
        names = self.count.load(names).values()
        return all(self._ours(name) is not None or self.ignores(name) for name in names)

    def load(self, theirs: Tensors) -> dict[str, Tensor]:
        """Return their tensors under a classifier's names.

        Raises:
            WeightsError: some names are not of this format, or a part of a tensor is missing.
        """
        parts: dict[str, list[Tensor | None]] = {}
        unknown: list[str] = []
        counted = self.count.load(theirs)
        for name, tensor in theirs.items():
            found = self._ours(counted[name])
            if found is not None:
                new, part, rule = found
                seen = tensor if rule.view is None else rule.view.load(tensor)
                parts.setdefault(new, [None] * len(rule.parts))[part] = seen
            elif not self.ignores(name):
                unknown.append(name)
        if unknown:
            raise WeightsError(f"not names of the {self.name} format: {', '.join(unknown)}")
        return {name: _joined(name, pieces) for name, pieces in parts.items()}

    def save(
        self, ours: Tensors, *, root: str | None = None, config: Any = None
    ) -> dict[str, Tensor]:
        """Return a classifier's tensors under their names.

        Args:
            ours: the classifier's `state_dict`.
            root: what to put before the backbone's names; the first of the format's if None.
            config: of the backbone; without it, tensors that it decides are left out.
        """
        root = self.root[0] if root is None else root
        result: dict[str, Tensor] = {}
        for name, tensor in ours.items():
            for rule in (*self.rules, *self.head):
                names = [rename(name, rule.ours, theirs) for theirs in rule.parts]
                if names[0] is not None:
                    before = root if rule in self.rules else ""
                    pieces = rule.cut(tensor)
                    seen = pieces if rule.view is None else map(rule.view.save, pieces)
                    result |= {f"{before}{n}": p for n, p in zip(names, seen, strict=True)}
                    break
            else:
                raise WeightsError(f"the {self.name} format has no name for {name}")
        counted = self.count.save(result)
        result = {counted[name]: tensor for name, tensor in result.items()}
        if self.copies is not None and config is not None:
            twins = self.copies(config)
            result |= {f"{root}{new}": result[f"{root}{old}"] for new, old in twins.items()}
        if self.derived is not None and config is not None:
            result |= {f"{root}{name}": tensor for name, tensor in self.derived(config).items()}
        return result


def _as_they_are(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _joined(name: str, pieces: list[Tensor | None]) -> Tensor:
    there = [piece for piece in pieces if piece is not None]
    if len(there) != len(pieces):
        raise WeightsError(
            f"{len(pieces) - len(there)} of the {len(pieces)} parts of {name} are missing"
        )
    return there[0] if len(there) == 1 else torch.cat(there)


def recognise(formats: Iterable[Format], names: Iterable[str]) -> Format:
    """Return the first format that all names are of.

    Raises:
        WeightsError: there is none; shows the names that the nearest format does not know.
    """
    names, formats = list(names), list(formats)
    if not formats:
        raise WeightsError("no other project has weights of this family")
    for format_ in formats:
        if format_.knows(names):
            return format_
    strange = {f.name: [n for n in names if not f.knows([n])] for f in formats}
    nearest = min(strange, key=lambda name: len(strange[name]))
    raise WeightsError(
        f"the tensors are of no known format; {nearest} does not know "
        f"{', '.join(strange[nearest][:8])}{', ...' if len(strange[nearest]) > 8 else ''}"
    )


def fill(model: nn.Module, tensors: Tensors, *, fresh: Iterable[str] = ()) -> None:
    """Copy weights into a model, every tensor accounted for.

    Args:
        model: is changed in place.
        tensors: named as the model names its own.
        fresh: tensors, or beginnings that end in a dot, that keep their fresh values, e.g.
            `["head."]` to fine-tune on other classes. Naming one that is not there is an error.

    Raises:
        WeightsError: anything is missing, left over, or of another shape; lists all of it.
    """
    fresh = tuple(fresh)
    own = model.state_dict()

    def kept(name: str) -> bool:
        return any(_covers(entry, name) for entry in fresh)

    wanted = {name: tensor.shape for name, tensor in own.items() if not kept(name)}
    given = {name: tensor for name, tensor in tensors.items() if not kept(name)}
    faults = [f"missing {n}" for n in wanted if n not in given]
    faults += [f"left over {n}" for n in given if n not in wanted]
    faults += [
        f"shape of {n}: {tuple(given[n].shape)} for {tuple(wanted[n])}"
        for n in wanted
        if n in given and given[n].shape != wanted[n]
    ]
    faults += [f"not there {f}" for f in fresh if not any(_covers(f, n) for n in own)]
    if faults:
        raise WeightsError(f"the weights do not fit the model: {'; '.join(faults)}")
    model.load_state_dict(given, strict=False)


def _covers(entry: str, name: str) -> bool:
    return name == entry or (entry.endswith(".") and name.startswith(entry))
