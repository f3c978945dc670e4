"""Evaluation: what a model's answers are worth. The directory is the registry of protocols."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from patchword.errors import ConfigError, suggest

if TYPE_CHECKING:
    from patchword.data import Kind
    from patchword.evaluation.protocol import Protocol

OWN: "Mapping[Kind, str]" = {
    "class": "topk",
    "shares": "topk",
    "labels": "multilabel",
    "values": "regression",
    "mask": "miou",
    "depth": "depth",
    "objects": "ap",
    "panoptic": "pq",
}
"""What a task is scored by, while it is learnt and after, by what the model answers."""


def names() -> list[str]:
    """Name every protocol, without importing any."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(f.stem for f in files if "\nPROTOCOL = " in f.read_text(encoding="utf-8"))


def named(name: str) -> "Protocol":
    """Look a protocol up by its name, at its default settings.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    if name not in names():
        raise ConfigError(f"no protocol is called {name!r}; {suggest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").PROTOCOL
