"""Trained weights that are known: where they are said to be, and on what terms."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from patchword import models
from patchword.config import parse
from patchword.errors import ConfigError, suggest


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Weights that are known, and what is said of them where they are listed."""

    source: str  # as `load` takes it
    listed: str  # by whom: timm, transformers
    licence: str  # "unknown" where the list does not say
    num_classes: int | None  # 0: there is no head; None: the list does not say
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float
    interpolation: str

    @property
    def tag(self) -> str:
        """What tells it from others of the same model, as in "augreg_in1k"."""
        return self.source.rpartition("/")[2].partition(".")[2]


def store() -> Path:
    """Return the file of known sources, which `python -m tests.known_sources` writes."""
    return Path(models.__file__).with_name("sources.json")


@cache
def known() -> dict[str, tuple[Listed, ...]]:
    """Return the known sources of each model, its default first."""
    held = json.loads(store().read_text(encoding="utf-8"))
    return {
        name: tuple(parse(Listed, source, where="sources.json") for source in sources)
        for name, sources in held.items()
    }


def rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the known sources of models, as JSON has it."""
    return [{"model": name, **asdict(s)} for name in names for s in known().get(name, ())]


def listed(source: str) -> Listed | None:
    """Return what is said of a source; None where it is not listed."""
    return next((s for held in known().values() for s in held if s.source == source), None)


def choose(name: str, pretrained: str | None) -> str:
    """Return what `load` is to read for a model: its default, a tag of it, or another source.

    Raises:
        ConfigError: there is no default.
    """
    sources = known().get(name, ())
    if pretrained is None:
        if not sources:
            raise ConfigError(
                f"no weights of {name} are known: name some, as in pretrained='a/folder'"
            )
        return sources[0].source
    tagged = [source.source for source in sources if source.tag == pretrained]
    if tagged or Path(pretrained).exists() or "/" in pretrained or ":" in pretrained:
        return tagged[0] if tagged else pretrained
    raise ConfigError(
        f"{name} has no weights {pretrained!r}; {suggest(pretrained, [s.tag for s in sources])}"
    )
