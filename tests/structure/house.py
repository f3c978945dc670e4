"""Laws of the house: which file stands where, and who may know whom."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.structure import tables
from tests.structure.sources import (
    Import,
    Source,
    family_lines,
    functions,
    imports,
    lines,
    papers,
    read,
)


def layering(root: Path) -> list[str]:
    """A file imports what lies below its room, lazily or not."""
    rank = {room: i for i, line in enumerate(tables.ORDER) for room in line.split()}
    faults = []
    for source in read(root):
        if source.room not in rank:
            faults.append(f"{source.place}: no layer holds this room; ORDER in tables.py does")
            continue
        for found, room, part in _ours(source, rank):
            if room != source.room and (why := _too_high(source.room, room, part, rank)):
                faults.append(source.fault(found.node, f"imports {found.name}: {why}"))
    return faults


def _ours(source: Source, rank: dict[str, int]) -> Iterator[tuple[Import, str, str]]:
    """Yield the imports of the package itself, each with its room and the module in it."""
    for found in imports(source):
        package, *path = found.name.split(".")
        if package == "patchword":
            room, part, *_ = [*path, "", ""]
            yield found, room if room in rank else "__init__", part


def _too_high(here: str, there: str, part: str, rank: dict[str, int]) -> str | None:
    if here in tables.NARROWER and there not in tables.NARROWER[here].split():
        return f"{here} may import only {tables.NARROWER[here]}"
    if rank[there] >= rank[here]:
        return f"{there} does not lie below {here}"
    allowed = tables.PARTS.get((here, there))
    if allowed is not None and part not in allowed:
        return f"{here} may import only {', '.join(allowed)} of {there}"
    return None


def families_apart(root: Path) -> list[str]:
    """A model file imports another only where the pair is listed, and each pair is in use."""
    families = {source.stem: source for source in read(root) if source.is_family}
    faults, used = [], set()
    for name, source in families.items():
        for found in imports(source):
            room = f"patchword.{source.room}."
            other = found.name.removeprefix(room).partition(".")[0]
            if not found.name.startswith(room) or other not in families:
                continue
            used.add((name, other))
            if other != name and (name, other) not in tables.FAMILY_PAIRS:
                faults.append(source.fault(found.node, f"imports the family {other}"))
    unused = set(tables.FAMILY_PAIRS) - used
    return faults + [f"models/{a}.py: the pair with {b} is not needed" for a, b in unused]


def libraries(root: Path) -> list[str]:
    """A third-party library is imported where the tables allow it, heavy ones at call time."""
    faults = []
    for source in read(root):
        for node, name, lazy in imports(source):
            library = name.partition(".")[0]
            if library == "patchword" or library in sys.stdlib_module_names:
                continue
            if lazy:
                homes = (*tables.ON_TOP.get(library, ()), *tables.IN_FUNCTIONS.get(library, ()))
            else:
                homes = () if source.place in tables.LIGHT else tables.ON_TOP.get(library, ())
            if not source.place.startswith(homes):
                how = "inside a function" if lazy else "at its top"
                faults.append(source.fault(node, f"may not import {library} {how}"))
    return faults


def file_names(root: Path) -> list[str]:
    """No file or folder is called by a name that says nothing."""
    return [
        f"{path.relative_to(root).as_posix()}: {path.stem} says nothing; name it by what it holds"
        for path in sorted(root.rglob("*"))
        if path.stem.strip("_") in tables.FORBIDDEN_NAMES
    ]


def headers(root: Path) -> list[str]:
    """A paper's file begins with its paper, its reference and its departures."""
    faults = []
    for source in papers(root):
        header = ast.get_docstring(source.tree) or ""
        for word in ("Paper", "Reference", "Departures"):
            if not re.search(rf"^{word} +\S", header, re.MULTILINE):
                faults.append(f"{source.place}: the header has no line {word}")
    gone = set(tables.INFRASTRUCTURE) - {source.place for source in read(root)}
    return faults + [f"{place}: excused, and not there" for place in sorted(gone)]


def registry(root: Path) -> list[str]:
    """A family lists its full names as literal keys of VARIANTS; no name stands twice."""
    faults = []
    for source in papers(root):
        if source.room == "models" and not source.is_family:
            faults.append(f"{source.place}: lists no VARIANTS")
    seen: dict[tuple[str, str], str] = {}
    for source in read(root):
        statement = source.table("VARIANTS")
        if statement is None:
            continue
        if not (isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict)):
            faults.append(source.fault(statement, "VARIANTS is not simply a literal dict"))
            continue
        for key in statement.value.keys:
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                spelt = ast.unparse(key) if key else "**"
                faults.append(source.fault(key or statement, f"{spelt} is not a literal name"))
            elif (name := (source.room, key.value)) in seen:
                faults.append(source.fault(key, f"{key.value!r} is in {seen[name]} already"))
            else:
                seen[name] = source.place
    return faults


def budgets(root: Path) -> list[str]:
    """Files and functions keep their budgets, or are excused with a reason that still holds."""
    over: dict[str, str] = {}
    for source in read(root):
        family = source.is_family
        count = family_lines(source) if family else len(source.text.splitlines())
        limit = tables.FAMILY_LINES if family else tables.FILE_LINES
        if count > limit:
            over[source.place] = f"{count} lines, {limit} allowed"
        for name, node, _ in functions(source.tree.body):
            if lines(node) > tables.FUNCTION_LINES:
                over[f"{source.place}:{name}"] = f"{lines(node)} lines, {tables.FUNCTION_LINES}"
    idle = [at for at in tables.EXCUSED if at not in over]
    return [
        *(f"{at}: {what}" for at, what in over.items() if at not in tables.EXCUSED),
        *(f"{at}: excused, and not over its budget" for at in idle),
    ]


def rooms(root: Path, page: Path) -> list[str]:
    """The architecture page lists the rooms that there are, and no other."""
    listed = re.findall(r"^\| `([\w.]+/?)` +\|", page.read_text(encoding="utf-8"), re.MULTILINE)
    there = [f"{p.name}/" for p in root.iterdir() if p.is_dir() and any(p.rglob("*.py"))]
    there += [p.name for p in root.glob("*.py")]
    twice = {room for room in listed if listed.count(room) > 1}
    return [
        *(f"{page.name} does not list {room}" for room in sorted({*there} - {*listed})),
        *(f"{page.name} lists {room}: there is none" for room in sorted({*listed} - {*there})),
        *(f"{page.name} lists {room} twice" for room in sorted(twice)),
    ]
