"""docs/families.md: a line for every family, made from what is kept of its models."""

import json
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from patchword import catalogue, models
from patchword.catalogue import Agreement, Figures

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "families.md"
SPEED = ROOT / "benchmarks" / "zoo.json"
APART = ROOT / "benchmarks" / "plain.json"  # families that no library has
HEAD = """\
# Families

A line for every family, made by `python -m tests.parity` from the figures behind
[parity.md](parity.md) and [speed.md](speed.md).

Agrees with: how many of its models have been held against which reference; `authors` are golden
tensors of the authors' code; a plain form is one that our tests write out from the formulas, where
public code is no oracle. Errors: the largest of all its models, relative to the largest value.
Formats: of tensors, read and written; `config.json` is transformers' own. Parameters: the model
that is furthest from what its paper says. Speed: seconds of the best packaged peer over ours, the
forward pass and the training step; in italics, where no library has the family, seconds of the same
network with its authors' algorithm in place of ours.

| family | models | agrees with | logits | features | gradients | formats | parameters | speed |
| --- | ---: | --- | ---: | ---: | ---: | --- | --- | --- |
"""


def write(known: dict[str, Figures]) -> None:
    """Write the page."""
    families: dict[str, list[str]] = defaultdict(list)
    for name, file in models.index().items():
        families[file].append(name)
    speeds = {key: f"*{ratio:.2f}*" for key, ratio in speed(APART).items()}
    speeds |= {key: f"{ratio:.2f}" for key, ratio in speed(SPEED).items()}
    rows = [line(file, families[file], known, speeds) for file in sorted(families)]
    PAGE.write_text(HEAD + "".join(rows), encoding="utf-8")


def line(
    file: str, names: list[str], known: dict[str, Figures], speeds: dict[tuple[str, str], str]
) -> str:
    """Return a family's row in Markdown."""
    family = import_module(f"patchword.models.{file}")
    found = [a for name in names if name in known for a in known[name].parity.items()]
    errors = [largest(found, what) for what in ("logits", "features", "gradients")]
    fast = [speeds[file, mode] for mode in ("forward", "step") if (file, mode) in speeds]
    cells = [f"`{file}`", str(len(names)), references(file, found), *errors]
    cells += [formats(family), furthest(family, known), ", ".join(fast)]
    return f"| {' | '.join(cells)} |\n"


def references(file: str, found: list[tuple[str, Agreement]]) -> str:
    """Say what the models of a family were held against, and how many of them."""
    counts: dict[str, int] = defaultdict(int)
    for reference, agreement in found:
        counts[reference] += agreement.passed
    failed = sum(not agreement.passed for _, agreement in found)
    shown = ["authors" if name == "authors" else f"{name} {n}" for name, n in counts.items()]
    if (Path(__file__).with_name(f"plain_{file}.py")).exists():
        shown.append("a plain form")
    return ", ".join([*shown, *([f"**{failed} fail**"] if failed else [])])


def largest(found: list[tuple[str, Agreement]], what: str) -> str:
    """Return the largest error of one kind."""
    errors = [getattr(agreement, what) for _, agreement in found]
    known = [error for error in errors if error is not None]
    return f"{max(known):.1e}" if known else ""


def formats(family: ModuleType) -> str:
    """Name the formats in which a family's tensors are read and written."""
    names = [form.name for form in family.FORMATS]
    return ", ".join(names + ["`config.json`"] * bool(vars(family).get("CONFIGS")))


def furthest(family: ModuleType, known: dict[str, Figures]) -> str:
    """Return the parameters of the model that is furthest from its paper's figure, beside it."""
    gaps = [
        (abs(known[name].parameters / 1e6 / claim.params - 1), name, claim.params)
        for name, claim in catalogue.claims(family).items()
        if claim.params is not None and name in known
    ]
    if not gaps:
        return ""
    _, name, params = max(gaps)
    return f"{known[name].parameters / 1e6:.2f} M, paper {params:g} M (`{name}`)"


def speed(path: Path) -> dict[tuple[str, str], float]:
    """Return the ratio to the fastest peer that a file of races knows, by family and mode."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    ratios: dict[tuple[str, str], float] = {}
    for row in rows:
        key = models.index()[row["model"]], row["mode"]
        ratios[key] = min(row["ratio"], ratios.get(key, float("inf")))
    return ratios
