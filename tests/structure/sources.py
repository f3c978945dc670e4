"""The package's files as the laws read them: parsed, never imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.structure import tables

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Import(NamedTuple):
    """One imported name, absolute: "torch.nn", "patchword.errors.ConfigError"."""

    node: ast.AST
    name: str
    lazy: bool  # inside a function, or for the type checker only


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of the package."""

    place: str  # below the package's folder: "models/vit.py"
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder or file directly in the package that this is or lies in."""
        return self.place.removesuffix(".py").partition("/")[0]

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return Path(self.place).stem

    @property
    def is_family(self) -> bool:
        """Whether this holds a paper's models."""
        return self.room in tables.FAMILY_ROOMS and self.table("VARIANTS") is not None

    def table(self, name: str) -> ast.Assign | ast.AnnAssign | None:
        """Find the assignment to a name at the file's top level."""
        return next((node for node in self.tree.body if name in assigned(node)), None)

    def fault(self, node: ast.AST, what: str) -> str:
        """Say what is wrong at a node."""
        return f"{self.place}:{getattr(node, 'lineno', 1)}: {what}"


@cache
def read(root: Path) -> tuple[Source, ...]:
    """Parse every file below the package's folder, in order of name."""
    return tuple(
        Source(place=path.relative_to(root).as_posix(), text=text, tree=ast.parse(text))
        for path in sorted(root.rglob("*.py"))
        for text in [path.read_text(encoding="utf-8")]
    )


def assigned(node: ast.AST) -> list[str]:
    """Name what a statement assigns to; nothing where it assigns to more than plain names."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    plain = [part for target in targets for part in getattr(target, "elts", [target])]
    names = [part.id for part in plain if isinstance(part, ast.Name)]
    return names if len(names) == len(plain) else []


def imports(source: Source) -> Iterator[Import]:
    """Yield every import of a file, at any depth."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for name in _names(source, node):
            yield Import(node, name, lazy)
        lazy = lazy or isinstance(node, FUNCTIONS) or _for_type_checker(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy)

    yield from visit(source.tree, False)


def _names(source: Source, node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            base = node.module or ""
            if node.level:
                package = ["patchword", *Path(source.place).parent.parts]
                up = package[: len(package) - node.level + 1]
                base = ".".join([*up, base] if base else up)
            return [f"{base}.{alias.name}" for alias in node.names]
        case ast.Call(args=[ast.Constant(value=str(name)), *_]):
            return [name] if (dotted(node.func) or "").endswith("import_module") else []
        case _:
            return []


def _for_type_checker(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and (dotted(node.test) or "").endswith("TYPE_CHECKING")


def dotted(node: ast.AST) -> str | None:
    """Spell a name or a chain of attributes: `re.compile`; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return None


def functions(
    body: list[ast.stmt], outer: str = "", *, public: bool = True
) -> Iterator[tuple[str, Function, bool]]:
    """Yield each function's qualified name, itself, and whether a user can reach it."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            seen = public and not node.name.startswith("_")
            yield from functions(node.body, f"{outer}{node.name}.", public=seen)
        elif isinstance(node, FUNCTIONS):
            name = node.name
            special = name.startswith("__") and name.endswith("__")
            yield f"{outer}{name}", node, public and (special or not name.startswith("_"))
            yield from functions(node.body, f"{outer}{name}.", public=False)
        elif isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
            yield from functions(list(_blocks(node)), outer, public=public)


def _blocks(node: ast.stmt) -> Iterator[ast.stmt]:
    for field in ("body", "orelse", "finalbody"):
        yield from getattr(node, field, [])
    for handler in getattr(node, "handlers", []):
        yield from handler.body


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """Name a definition's decorators by their last word: "setter", "dataclass"."""
    called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return [(dotted(d) or "?").rpartition(".")[2] for d in called]


def lines(node: ast.AST) -> int:
    """Count the lines that a node takes."""
    return (getattr(node, "end_lineno", 0) or 0) - getattr(node, "lineno", 0) + 1


def is_declarative(node: ast.AST) -> bool:
    """Tell whether a statement is a table of variants or formats, or a function that makes one."""
    value, kind = getattr(node, "value", None), None
    made = dotted(value.func) if isinstance(value, ast.Call) else None
    if isinstance(node, (ast.AnnAssign, *FUNCTIONS)):
        said = node.annotation if isinstance(node, ast.AnnAssign) else node.returns
        kind = dotted(said) if said else None
    return not {*assigned(node), made, kind}.isdisjoint(tables.DECLARATIVE)


def family_lines(source: Source) -> int:
    """Count a file's lines, without those of its declarative tables."""
    tabled = sum(lines(node) for node in source.tree.body if is_declarative(node))
    return len(source.text.splitlines()) - tabled
