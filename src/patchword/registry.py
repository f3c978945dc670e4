"""The directory is the registry: names are read from the sources that list them.

A file lists what it holds in `VARIANTS`, by full name. The index is read without importing any of
them; adding a family is adding a file.
"""

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from patchword.errors import ConfigError, suggest


@dataclass(frozen=True)
class Registry:
    """The names that the files of one package hold."""

    package: str  # its dotted name
    folder: Path  # where its files are

    def index(self) -> dict[str, str]:
        """Return each model's name and the family, that is the file, which holds it."""
        return _index(self.folder)

    def family(self, name: str) -> ModuleType:
        """Import the file that holds a model.

        Raises:
            ConfigError: no file holds a model of that name.
        """
        index = self.index()
        if name not in index:
            raise ConfigError(f"no model is called {name!r}; {suggest(name, index)}")
        return importlib.import_module(f"{self.package}.{index[name]}")

    def config(self, name: str) -> Any:
        """Look a model's configuration up; `config(name).build()` makes it, with fresh weights."""
        return self.family(name).VARIANTS[name]


@cache
def _index(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.glob("[a-z]*.py")):
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
