"""Weights under other names.

A `Format` is how one outside project names the tensors of one of our classifiers: a list of
rules that are read both ways, so every format that loads also saves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from patchword.errors import WeightsError
from patchword.weights.rules import Rule, rename

Tensors = Mapping[str, Tensor]
SHOWN = 8  # faults, in one line


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
        placed: makes the rules that depend on a backbone's config, as where stages are as long as
            it says. They go before the others, and are there only where the config is given.
        settings: of our config, that their networks have and their files do not say.
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
        placed: Callable[[Any], Iterable[Rule]] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.root, self.ignore, self.head = name, root, ignore, head
        self.derived, self.copies, self.placed = derived, copies, placed
        self.rules, self.settings = _of_backbone(rules), settings or {}
        self.twins: Mapping[str, str] = {}  # second names in full, written as the first are

    def _rules(self, config: Any) -> list[tuple[Rule, bool]]:
        """Return the rules, each with whether it is about the backbone."""
        placed = () if self.placed is None or config is None else self.placed(config)
        backbone = (*_of_backbone(placed), *self.rules)
        return [*((rule, True) for rule in backbone), *((rule, False) for rule in self.head)]

    def _bare(self, name: str) -> str:
        root = next((r for r in self.root if r and name.startswith(r)), "")
        return name.removeprefix(root)

    def _ours(self, name: str, rules: list[tuple[Rule, bool]]) -> tuple[str, int, Rule] | None:
        """Return our name for one of theirs, which part of it this is, and by which rule."""
        bare = self._bare(name)
        for rule, of_backbone in rules:
            for part, pattern in enumerate(rule.parts):
                new = rename(bare if of_backbone else name, pattern, rule.ours)
                if new is not None:
                    return new, part, rule
        return None

    def ignores(self, name: str) -> bool:
        """Tell whether a tensor of theirs is known to have no part in our network."""
        return any(rename(self._bare(name), pattern, "") == "" for pattern in self.ignore)

    def knows(self, names: Iterable[str], config: Any = None) -> bool:
        """Tell whether all names are of this format, for a backbone of a config."""
        rules = self._rules(config)
        return all(self._ours(name, rules) is not None or self.ignores(name) for name in names)

    def load(self, theirs: Tensors, config: Any = None) -> dict[str, Tensor]:
        """Return their tensors under a classifier's names.

        Args:
            theirs: named as in the format.
            config: of the backbone.

        Raises:
            WeightsError: some names are not of this format, or a part of a tensor is missing.
        """
        rules = self._rules(config)
        parts: dict[str, list[Tensor | None]] = {}
        unknown: list[str] = []
        for name, tensor in theirs.items():
            found = self._ours(name, rules)
            if found is not None:
                new, part, rule = found
                seen = tensor if rule.view is None else rule.view.load(tensor)
                parts.setdefault(new, [None] * len(rule.parts))[part] = seen
            elif not self.ignores(name):
                unknown.append(name)
        if unknown:
            raise WeightsError(f"not names of the {self.name} format: {listed(unknown)}")
        return {name: _joined(name, pieces) for name, pieces in parts.items()}

    def save(
        self, ours: Tensors, *, root: str | None = None, config: Any = None
    ) -> dict[str, Tensor]:
        """Return a classifier's tensors under their names.

        Args:
            ours: the classifier's `state_dict`.
            root: what to put before the backbone's names; the first of the format's if None.
            config: of the backbone; without it, tensors that it decides are left out.

        Raises:
            WeightsError: the format has no name for a tensor.
        """
        root = self.root[0] if root is None else root
        rules = self._rules(config)
        result: dict[str, Tensor] = {}
        for name, tensor in ours.items():
            for rule, of_backbone in rules:
                names = [rename(name, rule.ours, theirs) for theirs in rule.parts]
                if names[0] is not None:
                    before = root if of_backbone else ""
                    pieces = rule.cut(tensor)
                    seen = pieces if rule.view is None else map(rule.view.save, pieces)
                    result |= {f"{before}{n}": p for n, p in zip(names, seen, strict=True)}
                    break
            else:
                raise WeightsError(f"the {self.name} format has no name for {name}")
        result |= {new: result[old] for new, old in self.twins.items() if old in result}
        if self.copies is not None and config is not None:
            twins = self.copies(config)
            result |= {f"{root}{new}": result[f"{root}{old}"] for new, old in twins.items()}
        if self.derived is not None and config is not None:
            result |= {f"{root}{name}": tensor for name, tensor in self.derived(config).items()}
        return result


class Layered(NamedTuple):
    """How a project names what a head has as often as its config says."""

    rules: tuple[Rule, ...]
    twins: Mapping[str, str]  # second names of theirs, which say nothing new, and the first
    written: bool  # whether they write the second names


class HeadFormat:
    """One outside project's names of a dense head, around whichever backbone it is on.

    Args:
        name: of the project; that of the backbone's format too, if `backbone` is None.
        rules: about the head's tensors; the names of ours begin with `head.`.
        root: what stands before their backbone's names.
        backbone: what the backbone's format is called among those of its family.
        first: rules about the backbone's tensors that go before that format's.
        unread: tensors of our backbones that this head's model does not have, by their names.
        unused: their tensors that have no part in our network, a backbone's without the root.
        derived: makes those of theirs that we do not have, named without the root; as in `Format`.
        layered: makes, from the head's config, the rules that go before the others.
    """

    def __init__(
        self,
        name: str,
        *rules: Rule,
        root: str,
        backbone: str | None = None,
        first: tuple[Rule, ...] = (),
        unread: tuple[str, ...] = (),
        unused: tuple[str, ...] = (),
        derived: Callable[[Any], Tensors] | None = None,
        layered: Callable[[Any], Layered] | None = None,
    ) -> None:
        self.name, self.rules, self.root, self.backbone = name, rules, root, backbone or name
        self.layered = layered
        self.first, self.unread, self.unused, self.derived = first, unread, unused, derived

    def around(self, formats: Iterable[Format], head: Any = None) -> Format | None:
        """Return the format of a whole model; None where its backbone has none of that name.

        Args:
            formats: those of the backbone's family.
            head: the head's config.
        """
        base = next((format_ for format_ in formats if format_.name == self.backbone), None)
        if base is None:
            return None
        unread = tuple(f"backbone.{name}" for name in self.unread)
        aside = [part for r in base.rules if r.ours in unread for part in r.parts]
        own = self.layered(head) if self.layered and head is not None else Layered((), {}, False)
        made = Format(
            self.name,
            *self.first,
            head=(*own.rules, *self.rules),
            root=(self.root,),
            ignore=(*base.ignore, *self.unused, *aside, *own.twins),
            derived=self.derived or base.derived,
            copies=base.copies,
            placed=base.placed,
            settings=base.settings,
        )
        made.rules += tuple(rule for rule in base.rules if rule.ours not in unread)
        made.twins = own.twins if own.written else {}
        return made


def _of_backbone(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(replace(rule, ours=f"backbone.{rule.ours}") for rule in rules)


def _joined(name: str, pieces: list[Tensor | None]) -> Tensor:
    there = [piece for piece in pieces if piece is not None]
    if len(there) != len(pieces):
        raise WeightsError(
            f"{len(pieces) - len(there)} of the {len(pieces)} parts of {name} are missing"
        )
    return there[0] if len(there) == 1 else torch.cat(there)


def recognise(formats: Iterable[Format], names: Iterable[str], config: Any = None) -> Format:
    """Return the first format that all names are of, for a backbone of a config.

    Raises:
        WeightsError: there is none; shows the names that the nearest format does not know.
    """
    names, formats = list(names), list(formats)
    if not formats:
        raise WeightsError("no other project has weights of this family")
    for format_ in formats:
        if format_.knows(names, config):
            return format_
    strange = {f.name: [n for n in names if not f.knows([n], config)] for f in formats}
    nearest = min(strange, key=lambda name: len(strange[name]))
    raise WeightsError(
        f"the tensors are of no known format; {nearest} does not know {listed(strange[nearest])}"
    )


def fill(model: nn.Module, tensors: Tensors, *, fresh: Iterable[str] = ()) -> None:
    """Copy weights into a model, every tensor accounted for.

    Args:
        model: is changed in place.
        tensors: named as the model names its own.
        fresh: tensors, or beginnings that end in a dot, that keep their fresh values, e.g.
            `["head."]` to fine-tune on other classes. Naming one that is not there is an error.

    Raises:
        WeightsError: anything is missing, left over, or of another shape.
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
        raise WeightsError(f"the weights do not fit the model: {listed(faults, between='; ')}")
    model.load_state_dict(given, strict=False)


def listed(faults: Sequence[str], *, between: str = ", ") -> str:
    """Return what is wrong in one line: the first of it, and how much more there is."""
    more = len(faults) - SHOWN
    return between.join(faults[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _covers(entry: str, name: str) -> bool:
    return name == entry or (entry.endswith(".") and name.startswith(entry))
