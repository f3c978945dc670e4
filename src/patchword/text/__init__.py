"""Text and sequences, as far as vision needs them: one paper, one file.

Masks are boolean throughout, and True is what may be attended to: a token mask (b n) is True at
words and False at padding. torch's own modules say the opposite, transformers' 1 the same.
"""

from pathlib import Path
from typing import Any

from patchword.registry import Registry

_REGISTRY = Registry(__name__, Path(__file__).parent)

index, family, config = _REGISTRY.index, _REGISTRY.family, _REGISTRY.config


def create(name: str) -> Any:
    """Make a model by its name, with fresh weights.

    Raises:
        ConfigError: no file holds a model of that name.
    """
    return config(name).build()
