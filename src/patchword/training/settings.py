"""What a user asked for, and what runs: the second is the first with nothing left open."""

from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from patchword.config import changed, parse, read_json
from patchword.data import Pixels
from patchword.data.pseudo import PseudoLabels
from patchword.engine.devices import Precision, device
from patchword.errors import ConfigError, RunError
from patchword.recipes.recipe import Recipe
from patchword.tasks.distill import HARD, SOFT, Distillation

PIXELS = "pixels."  # how the settings of the pixel contract begin
PARTS = {"segment": "mask", "depth": "depth", "detect": "objects", "panoptic": "panoptic"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """The words of the command; None where the choice is left to the program."""

    data: str
    columns: tuple[str, ...] = ()  # of a list of pictures, as ROLE=NAME
    task: Literal["auto", "segment", "depth", "detect", "panoptic"] = "auto"
    model: str | None = None
    backbone: str | None = None  # below a model that is a head alone
    recipe: str | None = None
    epochs: float | None = None
    minutes: float | None = None  # of wall clock, from the command to the report
    batch_size: int | None = None
    lr: float | None = None
    image_size: tuple[int, int] | None = None
    holdout: float | None = None  # share of the training pictures that are held out to choose by
    seed: int = 0
    view_seed: int | None = None  # of splits, order, augmentation and mixing; None: `seed`
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: int | None = None
    device: str = "auto"
    compile: bool = False
    init: str | None = None
    teacher: str | None = None
    distill: Literal["hard", "soft"] | None = None
    token: bool = False
    unlabelled: str | None = None  # a folder of pictures for the teacher to label
    cache: str | None = None  # folder of what teachers say
    quarantine: str | None = None  # a list of pictures to leave out
    settings: tuple[str, ...] = ()  # changes to the recipe or to `pixels`, as PATH=VALUE

    def __post_init__(self) -> None:
        least = {"epochs": 0.0, "minutes": 0.0, "lr": 0.0, "batch_size": 1, "workers": 0}
        least |= {"seed": 0, "view_seed": 0}
        for name, low in least.items():
            value = getattr(self, name)
            open_ = isinstance(low, float)  # the number itself is out
            if value is not None and not (low < value < inf if open_ else low <= value):
                wanted = f"above {low:g}" if open_ else f"{low} or more"
                raise ConfigError(f"{words(name, value)}: wanted: {wanted}")

    @property
    def place(self) -> str:
        """The data, with the part of its scenes that is meant where a task is named."""
        return self.data if self.task == "auto" else f"{PARTS[self.task]}:{self.data}"

    @property
    def views(self) -> int:
        """The seed of what is seen: two runs that share it see the same batches."""
        return self.seed if self.view_seed is None else self.view_seed

    @property
    def seeds(self) -> str:
        """Both seeds in words, where there are two."""
        return str(self.seed) + ("" if self.view_seed is None else f", views {self.view_seed}")


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
    teacher: str | None = None  # digest of its weights
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
        recipe = replace(recipe, epochs=request.epochs, steps=None)
    if request.batch_size is not None:
        recipe = replace(recipe, batch_size=request.batch_size)
    if request.lr is not None:
        recipe = replace(recipe, optim=replace(recipe.optim, lr=request.lr, lr_batch=None))
    guessed, taught = pseudo_labels(recipe, request), distillation(recipe, request)
    recipe = replace(recipe, pseudo_labels=guessed, distillation=taught)
    return changed(recipe, tuple(s for s in request.settings if not s.startswith(PIXELS)))


def contract(pixels: Pixels, request: Request) -> Pixels:
    """Put what was asked for in place of a pixel contract's own; bands say how many channels."""
    asked = [s.removeprefix(PIXELS) for s in request.settings if s.startswith(PIXELS)]
    bands = next((s for s in reversed(asked) if s.startswith("bands=[")), "")
    if any(map(str.isdigit, bands)) and not any(s.startswith("channels=") for s in asked):
        asked.append(f"channels={bands.count(',') + 1}")
    return changed(pixels, asked, where="--settings pixels")


def distillation(recipe: Recipe, request: Request) -> Distillation | None:
    """Return how a teacher is learnt from: as was asked for, or as the recipe has it, or hard.

    Raises:
        ConfigError: there is no teacher, and there should be one, by the words or the recipe.
    """
    asked, own = request.distill, recipe.distillation
    if request.teacher is None:
        wants = [f"--distill {asked}"] * (asked is not None) + ["--token"] * request.token
        wants += [f"the recipe {recipe.name}"] * (own is not None)
        if wants:
            raise ConfigError(f"{wants[0]} needs a teacher to learn from: name one with --teacher")
        return None
    if request.unlabelled is not None:
        return None
    if own is not None and asked in (None, own.kind):
        return own
    return SOFT if asked == "soft" else HARD


def pseudo_labels(recipe: Recipe, request: Request) -> PseudoLabels | None:
    """Return what is learnt of pictures that a teacher labels: as the recipe has it, or Xie's.

    Raises:
        ConfigError: there is no teacher or no such picture, or another lesson was asked for.
    """
    if request.unlabelled is None:
        if recipe.pseudo_labels is not None:
            raise ConfigError(
                f"the recipe {recipe.name} learns pictures without labels as well: name their "
                "folder with --unlabelled"
            )
        return None
    if request.teacher is None:
        raise ConfigError("--unlabelled needs a teacher to label them: name one with --teacher")
    wrong = [f"--distill {request.distill}"] * (request.distill is not None)
    wrong += ["--token"] * request.token
    wrong += [f"the recipe {recipe.name}"] * (recipe.distillation is not None)
    if wrong:
        raise ConfigError(
            f"{wrong[0]} learns what a teacher says of labelled pictures, --unlabelled its labels "
            "of others: leave one out"
        )
    return recipe.pseudo_labels or PseudoLabels()


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
