"""Laws of the code: what a function may take, and what an import may do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.structure import tables
from tests.structure.sources import (
    FUNCTIONS,
    Function,
    Source,
    assigned,
    decorators,
    dotted,
    functions,
    imports,
    is_declarative,
    read,
)

OWNERS = ("self", "cls")


def parameters(root: Path) -> list[str]:
    """Take at most eight parameters, booleans by keyword, and in public no `**kwargs`."""
    faults, wide = [], set()
    for source in read(root):
        for name, node, public in functions(source.tree.body):
            at = f"{source.place}:{name}"
            if (count := len(_named(node)) + len(node.args.kwonlyargs)) > tables.PARAMETERS:
                wide.add(at)
                if at not in tables.WIDE:
                    what = f"{name} takes {count} parameters, {tables.PARAMETERS} allowed"
                    faults.append(source.fault(node, what))
            faults += [source.fault(node, f"{name} {what}") for what in _signature(node, public)]
    idle = sorted(set(tables.WIDE) - wide)
    return faults + [f"{at}: excused, and not over its parameters" for at in idle]


def _named(node: Function) -> dict[str, tuple[ast.expr | None, ast.expr | None]]:
    """Return the annotation and default of each parameter that can be given by position."""
    named = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(named) - len(node.args.defaults)) + node.args.defaults
    pairs = zip(named, defaults, strict=True)
    return {one.arg: (one.annotation, default) for one, default in pairs if one.arg not in OWNERS}


def _signature(node: Function, public: bool) -> Iterator[str]:
    if node.name not in tables.FOREIGN_SIGNATURES:
        for name, (annotation, default) in _named(node).items():
            if _is_boolean(annotation, default):
                yield f"takes the boolean {name} by position"
    rest, more = node.args.kwarg, node.args.vararg
    if public and rest:
        yield f"takes **{rest.arg}"
    if public and more and _says_nothing(more.annotation):
        yield f"takes *{more.arg} of anything"


def _is_boolean(annotation: ast.expr | None, default: ast.expr | None) -> bool:
    options = re.split(r"\s*\|\s*", ast.unparse(annotation)) if annotation else []
    return "bool" in options or (
        isinstance(default, ast.Constant) and isinstance(default.value, bool)
    )


def _says_nothing(annotation: ast.expr | None) -> bool:
    return annotation is None or ast.unparse(annotation) in ("Any", "typing.Any")


def no_hasattr(root: Path) -> list[str]:
    """Know what a thing is instead of asking whether it has an attribute."""
    return [
        source.fault(node, "hasattr")
        for source in read(root)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name) and node.id == "hasattr"
    ]


def docstrings(root: Path) -> list[str]:
    """Every file, public class and public function says what it is, or a base class did."""
    classes = {
        node.name: node
        for source in read(root)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }
    faults = []
    for source in read(root):
        if not ast.get_docstring(source.tree):
            faults.append(f"{source.place}: the file has no docstring")
        for node, within in _public(source.tree.body):
            said = ast.get_docstring(node) or (within and _inherited(within, node.name, classes))
            if not said and {"override", "overload", "setter"}.isdisjoint(decorators(node)):
                faults.append(source.fault(node, f"{node.name} has no docstring"))
    return faults


def _public(
    body: list[ast.stmt], within: ast.ClassDef | None = None
) -> Iterator[tuple[Function | ast.ClassDef, ast.ClassDef | None]]:
    for node in body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node, within
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, node)


def _inherited(within: ast.ClassDef, method: str, classes: dict[str, ast.ClassDef]) -> bool:
    """Tell whether a base class, among the package's own, says what a method does."""
    names = [(dotted(base) or "").rpartition(".")[2] for base in within.bases]
    bases = [classes[name] for name in names if name in classes and name != within.name]
    return any(
        any(isinstance(m, FUNCTIONS) and m.name == method and ast.get_docstring(m) for m in b.body)
        or _inherited(b, method, classes)
        for b in bases
    )


def nothing_at_import(root: Path) -> list[str]:
    """A file's top level defines; it does not do."""
    return [
        source.fault(node, f"runs at import: {ast.unparse(node).splitlines()[0][:60]}")
        for source in read(root)
        for node in _done(source.tree.body)
    ]


def _done(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what a body, the file's or a class's, does beyond defining."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _decorated(node)
                for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                    yield from _called(default)
            case ast.ClassDef():
                yield from _decorated(node)
                for base in [*node.bases, *(keyword.value for keyword in node.keywords)]:
                    yield from _called(base)
                yield from _done(node.body)
            case ast.Assign(value=value) | ast.AnnAssign(value=value) if assigned(node):
                yield from _called(value, by_name=is_declarative(node)) if value else ()
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case ast.If():
                yield from _called(node.test)
                yield from _done([*node.body, *node.orelse])
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                yield node


def _decorated(node: Function | ast.ClassDef) -> Iterator[ast.AST]:
    for decorator, name in zip(node.decorator_list, decorators(node), strict=True):
        if name not in tables.DECORATORS.split():
            yield decorator
        if isinstance(decorator, ast.Call):
            for argument in [*decorator.args, *(word.value for word in decorator.keywords)]:
                yield from _called(argument)


def _called(node: ast.AST, *, by_name: bool = False) -> Iterator[ast.AST]:
    """Yield the calls in an expression that are not known to be pure.

    Args:
        node: the expression; the body of a lambda in it is not run.
        by_name: in a declarative table a plain name may be called: a function beside the table.
    """
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Call) and not _is_pure(node.func, by_name=by_name):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _called(child, by_name=by_name)


def _is_pure(called: ast.expr, *, by_name: bool) -> bool:
    name = dotted(called)
    if name is None:  # "a b".split() is pure, open(...).read() is not
        return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Constant)
    module, _, last = name.rpartition(".")
    makes = last[:1].isupper() and module.partition(".")[0] not in ("torch", "nn")
    return makes or name in tables.PURE_CALLS.split() or (by_name and not module)


def commands(root: Path) -> list[str]:
    """The command line's verbs are the API's functions, each parameter with its line of help."""
    named = {source.place: source for source in read(root)}
    if "cli.py" not in named:
        return []
    verbs = {name for name, _ in _literals(named["cli.py"], "VERBS")}
    api = {node.name: node for node in named["api.py"].tree.body if isinstance(node, FUNCTIONS)}
    public = {name for name in api if not name.startswith("_")} - tables.COMMAND_LESS
    faults = [f"cli.py: the verb {verb} is no function of api.py" for verb in verbs - public]
    faults += [f"api.py: {name} is no verb of cli.py" for name in public - verbs]
    for verb in sorted(verbs & public):
        taken = api[verb].args
        help_lines = _arguments(ast.get_docstring(api[verb]) or "")
        more = [taken.vararg] if taken.vararg else []
        for one in [*taken.posonlyargs, *taken.args, *more, *taken.kwonlyargs]:
            if one.arg not in help_lines:
                faults.append(named["api.py"].fault(one, f"{verb}: no line under Args: {one.arg}"))
    return sorted(faults)


def _arguments(docstring: str) -> set[str]:
    """Name the parameters that a docstring's Args section describes."""
    _, _, after = docstring.partition("Args:\n")
    section = re.split(r"^\S", after, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^ {4}\*?(\w+): ", section, re.MULTILINE))


def exports(root: Path) -> list[str]:
    """The public names are in order, exist, are the same for the type checker, and no rooms."""
    named = {source.place: source for source in read(root)}
    front = named["__init__.py"]
    homes = _literals(front, tables.EXPORTS)
    faults = [] if homes == sorted(set(homes)) else [f"{tables.EXPORTS}: {homes} is out of order"]
    typed = {found.name.rpartition(".")[::2] for found in imports(front) if found.lazy}
    told = {(module, name) for name, module in homes}
    faults += [f"only the type checker knows {'.'.join(pair)}" for pair in sorted(typed - told)]
    faults += [f"the type checker misses {'.'.join(pair)}" for pair in sorted(told - typed)]
    for module, name in sorted(told):
        path = module.removeprefix("patchword.").replace(".", "/")
        home = named.get(f"{path}.py", named.get(f"{path}/__init__.py"))
        if home is None or name not in _defined(home):
            faults.append(f"{module} does not define {name}")
    rooms = [
        f"{place}: importing it takes the place of the public name {name}"
        for _, name in sorted(told)
        for place in (f"{name}.py", f"{name}/__init__.py")
        if place in named
    ]
    return [f"__init__.py: {fault}" for fault in faults] + rooms


def _defined(source: Source) -> set[str]:
    """Name what a file's top level defines or imports, be it for the type checker only."""
    names: set[str] = set()
    for top in source.tree.body:
        for node in top.body if isinstance(top, ast.If) else [top]:
            names |= set(assigned(node))
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
    return names


def _literals(source: Source, table: str) -> list[tuple[str, str]]:
    """Read a table at a file's top: its literal items twice, or its keys and values."""
    statement = source.table(table)
    value = statement.value if statement else None
    pairs = (
        zip(value.keys, value.values, strict=True)
        if isinstance(value, ast.Dict)
        else [(item, item) for item in getattr(value, "elts", [])]
    )
    return [(ast.literal_eval(a), ast.literal_eval(b)) for a, b in pairs if a]
