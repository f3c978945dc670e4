"""The law of the room of parts: three papers use what stands there."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.structure import tables
from tests.structure.sources import FUNCTIONS, Source, assigned, imports, papers, read


class Part(NamedTuple):
    """A public name of the room, and who uses it."""

    place: str  # "layers/block.py:Block"
    fault: str  # what a fault of it begins with
    users: set[str]  # papers that name it, or a part that is made of it; each by a file: "vit"
    heirs: set[str]  # these, and the papers that are built on their networks
    contract: bool  # whether a room that knows every network uses it

    @property
    def shared(self) -> bool:
        """Whether three papers use it, two of them at first hand, or the contract does."""
        return self.contract or (len(self.users) > 1 and len(self.heirs) > 2)


def parts(root: Path) -> list[str]:
    """What stands in `layers/` serves three papers, or the contract that every network keeps."""
    scarce = {part.place: part for part in room(root) if not part.shared}
    faults = [
        f"{part.fault} serves no three papers, only {', '.join(sorted(part.users)) or 'none'}"
        for place, part in scarce.items()
        if place not in tables.AWAITED
    ]
    idle = sorted(set(tables.AWAITED) - set(scarce))
    return faults + [f"{place}: excused, and not short of papers" for place in idle]


def room(root: Path) -> Iterator[Part]:
    """Yield every part with its users."""
    home = [source for source in read(root) if source.room == tables.PARTS_ROOM]
    families = [source for source in read(root) if source.room in tables.FAMILY_ROOMS]
    near, far = Makings(home), Makings([*home, *families])
    users: dict[str, set[str]] = defaultdict(set)
    heirs: dict[str, set[str]] = defaultdict(set)
    titles: dict[str, str] = {}
    for source in papers(root):
        paper = titles.setdefault(_title(source), source.stem)
        for makings, known in ((near, users), (far, heirs)):
            for place in makings.reach(makings.imported(source).values()):
                known[place].add(paper)
    keepers = [source for source in read(root) if source.room in tables.CONTRACT.split()]
    contract = near.reach(place for s in keepers for place in near.imported(s).values())
    for place, (source, node) in near.defined.items():
        name = place.rpartition(":")[2]
        fault = source.fault(node, name)
        yield Part(place, fault, users[place], heirs[place], place in contract)


class Makings:
    """Which names some files define, and of which of these each is made."""

    def __init__(self, sources: list[Source]) -> None:
        self.defined = {
            f"{source.place}:{name}": (source, node)
            for source in sources
            for node in source.tree.body
            for name in _names(node)
        }
        self.homes = {_dotted(place): place for place in self.defined}
        for source in sources:
            if source.stem == "__init__":  # what it imports is known by its name too
                package = source.place.removesuffix("/__init__.py").replace("/", ".")
                for name, place in self.imported(source).items():
                    self.homes[f"{package}.{name}"] = place
        self.made_of = {
            place: self._makings(source, node) for place, (source, node) in self.defined.items()
        }

    def imported(self, source: Source) -> dict[str, str]:
        """Return what a file imports of these: its own name for each, and the place."""
        found = {}
        for node, name, _ in imports(source):
            home = self.homes.get(name.removeprefix("patchword."))
            if home is not None and isinstance(node, ast.ImportFrom):
                own = {alias.name: alias.asname or alias.name for alias in node.names}
                found[own[name.rpartition(".")[2]]] = home
        return found

    def reach(self, places: Iterable[str]) -> set[str]:
        """Return places, those that they are made of, and so on."""
        reached: set[str] = set()
        left = [*places]
        while left:
            if (place := left.pop()) not in reached:
                reached.add(place)
                left += self.made_of[place]
        return reached

    def _makings(self, source: Source, node: ast.stmt) -> set[str]:
        known = self.imported(source)
        known |= {
            name: f"{source.place}:{name}" for top in source.tree.body for name in _names(top)
        }
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return {known[name] for name in names & set(known)}


def _names(node: ast.stmt) -> list[str]:
    """Name the public things that a statement defines."""
    named = [node.name] if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else assigned(node)
    return [name for name in named if not name.startswith("_")]


def _dotted(place: str) -> str:
    file, _, name = place.partition(":")
    return f"{file.removesuffix('.py').replace('/', '.')}.{name}"


def _title(source: Source) -> str:
    """Return what the files of a paper share: the first number on arXiv in their headers."""
    header = (ast.get_docstring(source.tree) or "").partition("\nPaper")[2]
    found = re.search(r"arXiv:([\d.]+\d)", header.partition("\nReference")[0])
    return found[1] if found else source.place
