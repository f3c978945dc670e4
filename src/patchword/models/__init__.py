"""The model zoo: one paper, one file. The directory is the registry."""

from pathlib import Path
from types import ModuleType
from typing import Any

from patchword.registry import Registry

_REGISTRY = Registry(__name__, Path(__file__).parent)


def index() -> dict[str, str]:
    """Return each model's name and the family, that is the file, which holds it."""
    return _REGISTRY.index()


def family(name: str) -> ModuleType:
    """Import the file that holds a model.

    Raises:
        ConfigError: no file holds a model of that name.
    """
    return _REGISTRY.family(name)


def config(name: str) -> Any:
    """Look a model's configuration up; `config(name).build()` is its backbone."""
    return _REGISTRY.config(name)
