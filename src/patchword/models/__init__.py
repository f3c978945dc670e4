"""The model zoo: one paper, one file. The directory is the registry."""

from pathlib import Path

from patchword.registry import Registry

_REGISTRY = Registry(__name__, Path(__file__).parent)

index, family, config = _REGISTRY.index, _REGISTRY.family, _REGISTRY.config
