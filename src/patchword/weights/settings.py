"""Another project's `config.json`, read into our settings and written from them.

A family lists in `CONFIGS` what it is called there: a `Kind` per class of theirs, with a line for
each of their fields that changes the network, and for each setting of ours that they do not have.
A configuration that only one side can say is refused, and the field named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nextafter
from typing import Any, NoReturn

from patchword.errors import ConfigError

Values = Mapping[str, Any]
Names = str | tuple[str, ...]


class Setting:
    """A line of the table."""

    def read(self, theirs: Values) -> dict[str, Any]:
        """Return what their fields say under our names, as plain values."""
        return {}

    def write(self, ours: Values) -> dict[str, Any]:
        """Return what our settings say under their names."""
        return {}


def several(names: Names) -> tuple[str, ...]:
    """Return names, of which there may be one."""
    return (names,) if isinstance(names, str) else names


def field(theirs: Values, name: str, default: Any = None) -> Any:
    """Look a field of theirs up; with no default it must be there."""
    found = theirs.get(name, default)
    if found is None:
        raise ConfigError(f"config.json does not say {name!r}")
    return found


def refuse(name: str, value: Any, wanted: str) -> NoReturn:
    """Refuse their configuration for a field."""
    raise ConfigError(f"config.json: {name} is {value!r}; only {wanted} is supported")


def unsayable(name: str, value: Any, wanted: str) -> NoReturn:
    """Refuse to write ours for a setting."""
    raise ConfigError(f"{name} is {value!r}; transformers' network has only {wanted}")


@dataclass(frozen=True)
class Same(Setting):
    """A value of theirs is ours; several names on a side have to agree."""

    theirs: Names
    ours: Names
    default: Any = None  # theirs, where their file leaves it out; None: it may not

    def read(self, theirs: Values) -> dict[str, Any]:
        first, *others = several(self.theirs)
        value = field(theirs, first, self.default)
        for other in others:
            if field(theirs, other) != value:
                refuse(other, theirs[other], f"{first}'s {value!r}")
        return dict.fromkeys(several(self.ours), value)

    def write(self, ours: Values) -> dict[str, Any]:
        first, *others = several(self.ours)
        for other in others:
            if ours[other] != ours[first]:
                unsayable(other, ours[other], f"{first}'s {ours[first]!r}")
        return dict.fromkeys(several(self.theirs), ours[first])


@dataclass(frozen=True)
class Whole(Same):
    """Numbers per stage that are whole in their file, and need not be in ours."""

    def write(self, ours: Values) -> dict[str, Any]:
        for numbers in super().write(ours).values():
            if any(number != int(number) for number in numbers):
                unsayable(several(self.ours)[0], numbers, "whole numbers")
        return {n: [int(number) for number in v] for n, v in super().write(ours).items()}


@dataclass(frozen=True)
class Only(Setting):
    """A field of theirs with one value that our networks have."""

    theirs: str
    value: Any

    def read(self, theirs: Values) -> dict[str, Any]:
        if theirs.get(self.theirs, self.value) != self.value:
            refuse(self.theirs, theirs[self.theirs], repr(self.value))
        return {}

    def write(self, ours: Values) -> dict[str, Any]:
        return {self.theirs: self.value}


@dataclass(frozen=True)
class Ours(Setting):
    """A setting of ours with one value that their networks have, unless a config may have others.

    Attributes:
        name: of the setting.
        value: that is read.
        alike: tells whether a config that has another is the same network anyway.
    """

    name: str
    value: Any
    alike: Callable[[Values], bool] = lambda config: False

    def read(self, theirs: Values) -> dict[str, Any]:
        return {self.name: self.value}

    def write(self, ours: Values) -> dict[str, Any]:
        if ours[self.name] != self.value and not self.alike(ours):
            unsayable(self.name, ours[self.name], repr(self.value))
        return {}


@dataclass(frozen=True)
class Must(Setting):
    """What their network needs of a setting of ours beyond its type."""

    name: str
    holds: Callable[[Any], bool]
    wanted: str

    def write(self, ours: Values) -> dict[str, Any]:
        if not self.holds(ours[self.name]):
            unsayable(self.name, ours[self.name], self.wanted)
        return {}


@dataclass(frozen=True)
class Choice(Setting):
    """Values of theirs, of one field or of several together, and those of ours.

    Of several that are one of ours, the first is written.
    """

    theirs: Names
    ours: str
    values: Mapping[Any, Any]
    default: Any = None

    def read(self, theirs: Values) -> dict[str, Any]:
        names = several(self.theirs)
        found = tuple(field(theirs, name, self.default) for name in names)
        key = found[0] if len(names) == 1 else found
        if key not in self.values:
            refuse(" and ".join(names), key, " or ".join(map(repr, self.values)))
        return {self.ours: self.values[key]}

    def write(self, ours: Values) -> dict[str, Any]:
        value, names = ours[self.ours], several(self.theirs)
        for key, known in self.values.items():
            if known == value:
                return dict(zip(names, key if len(names) > 1 else (key,), strict=True))
        unsayable(self.ours, value, " or ".join(map(repr, self.values.values())))


@dataclass(frozen=True)
class Uniform(Setting):
    """A value per stage in their file, which all have to be one: a setting of ours, or fixed."""

    theirs: str
    ours: str | None = None
    value: Any = None

    def read(self, theirs: Values) -> dict[str, Any]:
        found = field(theirs, self.theirs)
        wanted = found[0] if self.ours else self.value
        if any(one != wanted for one in found):
            refuse(self.theirs, found, f"{wanted!r} in every stage")
        return {self.ours: wanted} if self.ours else {}

    def write(self, ours: Values) -> dict[str, Any]:
        value = ours[self.ours] if self.ours else self.value
        return {self.theirs: [value] * len(ours["depth"])}


@dataclass(frozen=True)
class Spread(Setting):
    """One value in their file, which every stage of ours has."""

    theirs: str
    ours: str

    def read(self, theirs: Values) -> dict[str, Any]:
        return {self.ours: [field(theirs, self.theirs)] * len(field(theirs, "depths"))}

    def write(self, ours: Values) -> dict[str, Any]:
        first, *others = ours[self.ours]
        if any(other != first for other in others):
            unsayable(self.ours, ours[self.ours], "the same in every stage")
        return {self.theirs: first}


@dataclass(frozen=True)
class Last(Setting):
    """A value per stage in their file, of which ours is the last; the others have one value."""

    theirs: str
    ours: str | None
    others: Any
    value: Any = None  # the last, where it is no setting of ours

    def read(self, theirs: Values) -> dict[str, Any]:
        *others, last = field(theirs, self.theirs)
        if any(other != self.others for other in others):
            refuse(self.theirs, theirs[self.theirs], f"{self.others!r} before the last stage")
        if self.ours is None and last != self.value:
            refuse(self.theirs, theirs[self.theirs], f"{self.value!r} in the last stage")
        return {self.ours: last} if self.ours else {}

    def write(self, ours: Values) -> dict[str, Any]:
        last = ours[self.ours] if self.ours else self.value
        return {self.theirs: [self.others] * (len(ours["depth"]) - 1) + [last]}


@dataclass(frozen=True)
class Stages(Setting):
    """How many stages there are, which ours says by the length of its depth."""

    theirs: str

    def read(self, theirs: Values) -> dict[str, Any]:
        stages = len(field(theirs, "depths"))
        if theirs.get(self.theirs, stages) != stages:
            refuse(self.theirs, theirs[self.theirs], f"{stages}, as many as depths,")
        return {}

    def write(self, ours: Values) -> dict[str, Any]:
        return {self.theirs: len(ours["depth"])}


@dataclass(frozen=True)
class Scale(Setting):
    """A factor of LayerScale, where 0 in their file is none."""

    theirs: str
    ours: str

    def read(self, theirs: Values) -> dict[str, Any]:
        return {self.ours: field(theirs, self.theirs) or None}

    def write(self, ours: Values) -> dict[str, Any]:
        return {self.theirs: ours[self.ours] or 0.0}


@dataclass(frozen=True)
class Hidden(Setting):
    """Their hidden channels are a ratio of ours."""

    def read(self, theirs: Values) -> dict[str, Any]:
        hidden, dim = field(theirs, "intermediate_size"), field(theirs, "hidden_size")
        ratio = hidden / dim
        return {"mlp_ratio": ratio if int(dim * ratio) == hidden else nextafter(ratio, inf)}

    def write(self, ours: Values) -> dict[str, Any]:
        return {"intermediate_size": int(ours["embed_dim"] * ours["mlp_ratio"])}


@dataclass(frozen=True, kw_only=True)
class Sides(Setting):
    """The image size: one side, or, where they can say it, rows and columns."""

    square: bool = False

    def read(self, theirs: Values) -> dict[str, Any]:
        size = field(theirs, "image_size")
        if isinstance(size, Sequence) and len(size) == 2:
            return {"image_size": [*size]}
        if not isinstance(size, int):
            refuse("image_size", size, "a side, or rows and columns,")
        return {"image_size": [size, size]}

    def write(self, ours: Values) -> dict[str, Any]:
        rows, columns = ours["image_size"]
        if self.square and rows != columns:
            unsayable("image_size", [rows, columns], "square images")
        return {"image_size": rows if rows == columns else [rows, columns]}
