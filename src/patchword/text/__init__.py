"""Text and sequences, as far as vision needs them: one paper, one file.

Masks are boolean throughout, and True is what may be attended to: a token mask (b n) is True at
words and False at padding. torch's own modules say the opposite, transformers' 1 the same.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

from patchword.registry import Registry

_REGISTRY = Registry(__name__, Path(__file__).parent)


def index() -> dict[str, str]:
    """Return each model's name and the file which holds it."""
    return _REGISTRY.index()


def family(name: str) -> ModuleType:
    """Import the file that holds a model.

    Raises:
        ConfigError: no file holds a model of that name.
    """
    return _REGISTRY.family(name)


def config(name: str) -> Any:
    """Look a model's configuration up; `config(name).build()` makes it, with fresh weights."""
    return _REGISTRY.config(name)


def create(name: str) -> Any:
    """Make a model by its name, with fresh weights.

    Raises:
        ConfigError: no file holds a model of that name.
    """
    return config(name).build()
