"""Heads: features in, predictions out. One paper, one file; none knows a backbone by name.

A file that makes models of its own lists their full names in `VARIANTS`, as the files of `models/`
do: `segformer` is a head for any backbone, `segformer_b0` the one on the backbone of the paper.
"""

from pathlib import Path

from patchword.registry import Registry

_REGISTRY = Registry(__name__, Path(__file__).parent)

index, family, config = _REGISTRY.index, _REGISTRY.family, _REGISTRY.config
