"""What signatures say of types and shapes, checked at every call of the package.

As jaxtyping's own import hook does with beartype, in half the time: each argument and each answer
is looked at once, where that binds arguments to their names and looks at them again with the answer.
"""

import ast
import sys
from dataclasses import is_dataclass
from functools import partial, wraps
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from inspect import isgeneratorfunction
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints
from unittest.mock import patch

from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped

CHECKED = "_checked"  # the decorator's name in the modules
TAG = "checked1"  # of the byte code that is kept; another number where `Marked` changes


def checked(what):
    """Check a function's arguments and answer, or a dataclass's fields as it is made."""
    if isinstance(what, type):
        if is_dataclass(what) and "__init__" in vars(what):
            what.__init__ = checked(what.__init__)
        return what
    if isgeneratorfunction(what):  # of which beartype looks at nothing before the first item
        return jaxtyped(what, typechecker=beartype)
    said = what.__annotations__
    hints = known(what)
    what.__annotations__ = hints
    inner = beartype(what)
    what.__annotations__ = inner.__annotations__ = said
    if not any(map(sized, hints.values())):
        return inner

    @wraps(inner)
    def call(*args, **kwargs):
        with jaxtyped("context"):  # in which sizes of one name are one size
            return inner(*args, **kwargs)

    return call


def known(function):
    """Return a function's annotations; of names that are imported for type checkers alone, Any."""
    hints = {}
    for name, hint in function.__annotations__.items():
        alone = SimpleNamespace(__annotations__={name: hint})
        try:
            hints |= get_type_hints(alone, function.__globals__, include_extras=True)
        except NameError:
            hints[name] = Any
    return hints


def sized(hint):
    """Tell whether a hint says anything of a shape."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(sized, get_args(hint)))


class Marked(ast.NodeTransformer):
    """Decorates every function, below what else decorates it, and every class, above that."""

    def visit_FunctionDef(self, node):
        node.decorator_list.append(ast.copy_location(ast.Name(CHECKED, ast.Load()), node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node):
        node.decorator_list.insert(0, ast.copy_location(ast.Name(CHECKED, ast.Load()), node))
        return self.generic_visit(node)


class Loader(SourceFileLoader):
    """Loads a module with all that it defines decorated."""

    def source_to_code(self, data, path, *, _optimize=-1):
        tree = Marked().visit(ast.parse(data, path))
        return super().source_to_code(tree, path, _optimize=_optimize)

    def get_code(self, fullname):
        kept = partial(cache_from_source, optimization=TAG)  # apart from what users run
        with patch("importlib._bootstrap_external.cache_from_source", kept):
            return super().get_code(fullname)

    def exec_module(self, module):
        setattr(module, CHECKED, checked)
        super().exec_module(module)


class Finder(PathFinder):
    """Finds the package's modules, to be loaded so."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "patchword":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Check what is imported from here on."""
    sys.meta_path.insert(0, Finder)
