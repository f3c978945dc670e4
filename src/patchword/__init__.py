"""Patchword: vision transformers, exact, fast and legible. An image is worth 16x16 words.

Importing the package imports neither torch nor a model; a name is loaded when it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.api import adapt as adapt
    from patchword.api import convert as convert
    from patchword.api import create_model as create_model
    from patchword.api import doctor as doctor
    from patchword.api import evaluate as evaluate
    from patchword.api import list_models as list_models
    from patchword.api import load as load
    from patchword.api import predict as predict
    from patchword.api import save as save
    from patchword.api import train as train
    from patchword.errors import PatchwordError as PatchwordError

_HOMES = {
    "PatchwordError": "patchword.errors",
    "adapt": "patchword.api",
    "convert": "patchword.api",
    "create_model": "patchword.api",
    "doctor": "patchword.api",
    "evaluate": "patchword.api",
    "list_models": "patchword.api",
    "load": "patchword.api",
    "predict": "patchword.api",
    "save": "patchword.api",
    "train": "patchword.api",
}
__all__ = [
    "PatchwordError",
    "adapt",
    "convert",
    "create_model",
    "doctor",
    "evaluate",
    "list_models",
    "load",
    "predict",
    "save",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'patchword' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
