"""Recipes: a paper's training each, as data. The directory is the registry."""

import importlib
from pathlib import Path

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
    if name not in names():
        raise ConfigError(f"no recipe is called {name!r}; {suggest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").RECIPE
