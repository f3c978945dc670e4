"""What a user asked for, and what runs: the second is the first with nothing left open."""

import json
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from patchword.config import dump, parse, read_json
from patchword.engine.devices import Precision, device
from patchword.errors import ConfigError, RunError, suggest
from patchword.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Request:
    """The words of the command; None where the choice is left to the program."""

    data: str
    model: str | None = None
    recipe: str | None = None
    epochs: float | None = None
    minutes: float | None = None  # of wall clock, from the command to the report
    batch_size: int | None = None
    lr: float | None = None
    image_size: tuple[int, int] | None = None
    holdout: float | None = None  # share of the training pictures that are held out to choose by
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int | None = None
    device: str = "auto"
    compile: bool = False
    init: str | None = None
    quarantine: str | None = None  # a list of pictures to leave out
    settings: tuple[str, ...] = ()  # changes to the recipe, as PATH=VALUE

    def __post_init__(self) -> None:
        least = {"epochs": 0.0, "minutes": 0.0, "lr": 0.0, "batch_size": 1, "seed": 0, "workers": 0}
        for name, low in least.items():
            value = getattr(self, name)
            open_ = isinstance(low, float)  # the number itself is out
            if value is not None and not (low < value < inf if open_ else low <= value):
                wanted = f"above {low:g}" if open_ else f"{low} or more"
                raise ConfigError(f"{words(name, value)}: wanted: {wanted}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a training runs by; with the data, enough to run it again."""

    request: Request
    recipe: Recipe
    precision: Precision
    device: str
    threads: int
    workers: int
    steps: int
    steps_per_epoch: int
    log: int  # steps between two rows of the log
    evaluate: int  # steps between two looks at the validation pictures
    fingerprint: str  # of the training pictures
    reasons: tuple[str, ...] = ()


def stored(run: Path) -> Settings | None:
    """Read a run's settings; None where there is no run."""
    path = run / "config.json"
    found = read_json(path) if path.exists() else {}
    return parse(Settings, found["settings"], where=str(path)) if "settings" in found else None


def same(settings: Settings, request: Request, run: Path) -> None:
    """Check that a run holds what is asked for now.

    Raises:
        RunError: it does not; says which setting differs.
    """
    for field in fields(Request):
        then, now = getattr(settings.request, field.name), getattr(request, field.name)
        if then != now:
            raise RunError(
                f"{run} holds a run with {words(field.name, then)}, not {words(field.name, now)}: "
                "name another --out, or give the same settings to continue it"
            )


def words(name: str, value: Any) -> str:
    """Say a setting as it stands on a command line."""
    flag = name if name == "data" else f"--{name.replace('_', '-')}"
    return f"no {flag}" if value is None or value is False else f"{flag} {value}"


def overridden(recipe: Recipe, request: Request) -> Recipe:
    """Put what was asked for in place of the recipe's own."""
    if request.epochs is not None:
        recipe = replace(recipe, epochs=request.epochs)
    if request.batch_size is not None:
        recipe = replace(recipe, batch_size=request.batch_size)
    if request.lr is not None:
        recipe = replace(recipe, optim=replace(recipe.optim, lr=request.lr, lr_batch=None))
    return changed(recipe, request.settings)


def changed(recipe: Recipe, settings: tuple[str, ...]) -> Recipe:
    """Change a recipe by path, as in `augment.hflip=0.5`.

    Raises:
        ConfigError: there is no such setting, or the value is not of its type.
    """
    values = dump(recipe)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--settings {setting}: write it as PATH=VALUE")
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
            raise ConfigError(f"--settings {path}: no such setting; {suggest(last, known)}")
        inside[last] = value
    return parse(Recipe, values, where="--settings")


def requested(path: Path, request: Request) -> tuple[Request, Settings | None]:
    """Take a saved run's request, with what is given now in place of what was then.

    Args:
        path: a run's `config.json`, or the run.
        request: as given now; what is at its default does not count.

    Returns:
        the request, and the settings to run it by where they are the same: what was measured for
        them is not measured again.
    """
    file = path / "config.json" if path.is_dir() else path
    saved = parse(Settings, read_json(file).get("settings", {}), where=str(file))
    default = Request(data="")
    given = {
        field.name: getattr(request, field.name)
        for field in fields(Request)
        if getattr(request, field.name) != getattr(default, field.name)
    }
    asked = replace(saved.request, **given)
    again = asked == saved.request and str(device(asked.device)) == saved.device
    return asked, saved if again else None
