"""Patchword: vision transformers, exact, fast and legible. An image is worth 16x16 words.

Importing the package imports neither torch nor a model; a name is loaded when it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.adaptation import adapt as adapt
    from patchword.api import convert as convert
    from patchword.api import doctor as doctor
    from patchword.api import evaluate as evaluate
    from patchword.api import inspect as inspect
    from patchword.api import licences as licences
    from patchword.api import predict as predict
    from patchword.api import train as train
    from patchword.checkpoints import load as load
    from patchword.conversion import save as save
    from patchword.errors import PatchwordError as PatchwordError
    from patchword.factory import list_models as list_models
    from patchword.pretrained import create_model as create_model

_HOMES = {
    "PatchwordError": "patchword.errors",
    "adapt": "patchword.adaptation",
    "convert": "patchword.api",
    "create_model": "patchword.pretrained",
    "doctor": "patchword.api",
    "evaluate": "patchword.api",
    "inspect": "patchword.api",
    "licences": "patchword.api",
    "list_models": "patchword.factory",
    "load": "patchword.checkpoints",
    "predict": "patchword.api",
    "save": "patchword.conversion",
    "train": "patchword.api",
}
__all__ = [
    "PatchwordError",
    "adapt",
    "convert",
    "create_model",
    "doctor",
    "evaluate",
    "inspect",
    "licences",
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
