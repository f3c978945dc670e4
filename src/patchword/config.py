"""Settings are values: frozen dataclasses, read strictly and written in full.

What a dataclass does not declare cannot be read into it: a misspelt setting is an error with a
suggestion, not a silence. Reading `dump(x)` back gives `x`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from patchword.errors import ConfigError, suggest

T = TypeVar("T")


def dump(settings: Any) -> dict[str, Any]:
    """Return settings as plain JSON values, every default written out."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(settings)).dump_python(settings, mode="json")


def parse(kind: type[T], values: Mapping[str, Any], *, where: str = "settings") -> T:
    """Read plain values into a settings dataclass.

    Args:
        kind: the dataclass; nested dataclasses are read from nested mappings.
        values: by field name; what is left out takes its default.
        where: what an error calls the place that the values came from.

    Raises:
        ConfigError: a name is not a field, or a value is not of its field's type.
    """
    from pydantic import TypeAdapter, ValidationError

    _refuse_unknown(kind, values, where)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        ours = first.get("ctx", {}).get("error")  # from a dataclass's own check: it says all
        said = str(ours) if isinstance(ours, ConfigError) else f"{first['input']!r}: {first['msg']}"
        raise ConfigError(": ".join(filter(None, (where, path, said)))) from None


def changed(settings: T, changes: Iterable[str], *, where: str = "--settings") -> T:
    """Change settings by path, as in `augment.hflip=0.5`; values are JSON, or words as they are.

    Raises:
        ConfigError: there is no such setting, or the value is not of its type.
    """
    values = dump(settings)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"{where} {change}: write it as PATH=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, last = path.split(".")
        inside: Any = values
        for name in parents:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if not isinstance(inside, dict) or last not in inside:
            known = inside if isinstance(inside, dict) else values
            raise ConfigError(f"{where} {path}: no such setting; {suggest(last, known)}")
        inside[last] = value
    return parse(type(settings), values, where=where)


def _refuse_unknown(kind: Any, values: Mapping[str, Any], where: str) -> None:
    known = {field.name: field.type for field in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{where}: no setting is called {name!r}; {suggest(name, known)}")
        inner = _dataclass_in(known[name])
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, f"{where}.{name}")


def _dataclass_in(annotation: Any) -> Any:
    """Return the dataclass in `X` or `X | None`, if there is one."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((option for option in options if is_dataclass(option)), None)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ConfigError: there is no such file, or it does not hold a JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no {path.name} in {path.parent}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds {type(found).__name__}, not a JSON object")
    return found
