"""The model zoo: one paper, one file. The directory is the registry.

A family's file lists what it holds in `VARIANTS`, by full name. The index is read from the
sources without importing them; adding a family is adding a file.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from patchword.errors import ConfigError, suggest


@cache
def index() -> dict[str, str]:
    """Return each model's name and the family, that is the file, which holds it."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        for name in variant_names(path):
            if name in found:
                raise ConfigError(f"{name} is in both {found[name]}.py and {path.name}: rename one")
            found[name] = path.stem
    return found


def variant_names(path: Path) -> list[str]:
    """Read the keys of a file's `VARIANTS`, a dictionary that is written out."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="VARIANTS")], value=ast.Dict(keys=keys)):
                return [str(ast.literal_eval(key)) for key in keys if key is not None]
            case _:
                pass
    return []


def family(name: str) -> ModuleType:
    """Import the file that holds a model.

    Raises:
        ConfigError: no file holds a model of that name.
    """
    if name not in index():
        raise ConfigError(f"no model is called {name!r}; {suggest(name, index())}")
    return importlib.import_module(f"{__name__}.{index()[name]}")


def config(name: str) -> Any:
    """Look a model's configuration up; `config(name).build()` is its backbone."""
    return family(name).VARIANTS[name]
