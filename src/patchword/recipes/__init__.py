"""Recipes: a paper's training each, as data. The directory is the registry.

A recipe is the `RECIPE` of its file. One whose numbers depend on the model and on the pictures has
`fitted(model, found)` as well, which returns it with those numbers.
"""

import importlib
from pathlib import Path
from typing import Any

from patchword.errors import ConfigError, suggest
from patchword.recipes.recipe import Recipe

NOT_RECIPES = ("recipe", "pick")


def names() -> list[str]:
    """Name every recipe, without importing any."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(path.stem for path in files if path.stem not in NOT_RECIPES)


def recipe(name: str) -> Recipe:
    """Look a recipe up by its name.

    Raises:
        ConfigError: there is no recipe of that name.
    """
    return _file(name)["RECIPE"]


def fitted(name: str, model: str, found: Any) -> Recipe:
    """Return a recipe as its own rule has it for a model and for pictures; `found` is `Found`."""
    rule = _file(name).get("fitted")
    return recipe(name) if rule is None else rule(model, found)


def _file(name: str) -> dict[str, Any]:
    if name not in names():
        raise ConfigError(f"no recipe is called {name!r}; {suggest(name, names())}")
    return vars(importlib.import_module(f"{__name__}.{name}"))
