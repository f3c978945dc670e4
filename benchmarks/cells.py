"""A study of many trainings: a folder of run directories, each trained when it is first asked for.

The same command goes on where it was stopped or killed: a finished cell is read, one in progress
continues from its newest checkpoint. What came out gathers in OUT/results.json; the page that is
drawn from it stands beside it. Where OUT is gone, cells that were kept count as they are, and are
trained again only if another one needs their weights.
"""

import json
import sys
import time
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median

from patchword import train
from patchword.config import read_json
from patchword.errors import Stopped
from patchword.files import write_text
from tests.parity.page import measured

CHOOSING = 100  # the seed that settings are chosen with, and of the split


class Late(Exception):
    """The time of this sitting is over; a later one goes on."""


@dataclass
class Study:
    """The cells in a folder, and what was chosen by them."""

    out: Path
    seeds: int = 3
    steps: int | None = None  # of every training; None: as the study says
    until: float = inf  # by `time.monotonic`: no cell begins after it
    kept: dict = field(default_factory=dict)  # cells of earlier sittings
    cells: dict = field(default_factory=dict)
    choices: list = field(default_factory=list)
    asked: dict = field(default_factory=dict)  # cell -> what it is trained on, and how

    def cell(self, name, data, *parts):
        """Return what came out of a training, which is trained now if it never was."""
        words = merged({"seed": 0, "cache": self.path("answers")}, *parts)
        self.asked[name] = data, words
        kept = self.kept.get(name)
        known = kept is not None and kept["words"] == told(words, self.out)
        self.cells[name] = kept if known and not self.done(name) else self.trained(name)
        return self.cells[name]

    def done(self, name):
        """Tell whether a cell's run is there and finished."""
        files = ("model.safetensors", "report.html")
        return all((self.path(name) / file).exists() for file in files)

    def trained(self, name):
        """Train a cell, after those whose weights it needs; of a finished one, read the run."""
        data, words = self.asked[name]
        for other in [other for other in self.asked if self.path(other) in words.values()]:
            if not self.done(other):
                self.trained(other)
        if not self.done(name) and time.monotonic() > self.until:
            raise Late(name)
        print(f"\n== {name}", flush=True)
        path = self.path(name)
        run = train(data, out=path, **words)  # of a finished one, compares the settings
        settings = read_json(path / "config.json")["settings"]
        rows = [row for row in logged(path) if "loss" in row]
        return {
            "made": measured(),
            "seed": settings["request"]["seed"],
            "steps": settings["steps"],
            "batch_size": settings["recipe"]["batch_size"],
            "seconds": sum(row["seconds"] for row in rows),
            "waited": sum(row["seconds"] * row["waiting"] for row in rows),
            "pace": median(row["images_per_second"] for row in rows),
            "precision": settings["precision"],
            "threads": settings["threads"],
            "words": told(words, self.out),
            "scores": run.scores,
        }

    def path(self, name):
        """Return the folder of a cell."""
        return self.out / name

    def choose(self, group, what, options, data, *parts):
        """Return the name of the option that is best on held-out pictures.

        Args:
            group: the first part of the cells' names.
            what: is chosen, the next part of them.
            options: the words of each, by name.
            data: to train on.
            parts: further words, of all of them.
        """
        top = {}
        for name, words in options.items():
            cell = self.cell(
                f"{group}/choose/{what}/{name}", data, {"seed": CHOOSING}, *parts, words
            )
            top[name] = cell["scores"]["validation"]["top1"]
        best = max(top, key=top.get)
        self.choices.append({"group": group, "what": what, "scores": top, "best": best})
        return best


def logged(path):
    """Return the rows of a run's log: steps with their losses, and looks at held-out pictures."""
    lines = (path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def merged(*parts):
    """Put the words of commands together; later ones count, settings add up."""
    words = {key: value for part in parts for key, value in part.items()}
    return words | {"settings": [s for part in parts for s in part.get("settings", ())]}


def told(words, out):
    """Return the words of a command as they are kept: paths from the folder of the study."""
    paths = {key: value for key, value in words.items() if isinstance(value, Path)}
    return {key: str(value) for key, value in words.items()} | {
        key: path.relative_to(out).as_posix() for key, path in paths.items()
    }


def length(steps):
    """Return the words for so many steps."""
    return {"settings": [f"steps={steps}"]}


def same(out, plan):
    """Keep what a folder was begun with, and refuse to go on with another."""
    kept = out / "plan.json"
    if kept.exists() and read_json(kept) != plan:
        sys.exit(f"{out} was begun with {read_json(kept)}, not {plan}: name another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps(plan) + "\n")


def group(name):
    """Return the first part of a cell's name: cells of one are of one machine."""
    return name.partition("/")[0]


def joined(found, kept):
    """Return results, and of those that were kept before the groups that these lack."""
    groups = set(map(group, found["cells"]))
    more = {name: cell for name, cell in kept["cells"].items() if group(name) not in groups}
    choices = [choice for choice in kept["choices"] if choice["group"] not in groups]
    return {
        **found,
        "choices": [*choices, *found["choices"]],
        "cells": {**more, **found["cells"]},
    }


def sitting(parser, words, everything, page, about, groups, places):
    """Train what is missing for as long as there is time, write down all that is known.

    Args:
        parser: of the command; what all studies have is added to it.
        words: of the command; None: the process's.
        everything: a function that asks a study for its cells, given it and the command.
        page: draws results.
        about: of the study, for the page.
        groups: of cells, of the whole study.
        places: where results and page are kept; groups that were not asked for stay there as they
            are.
    """
    parser.add_argument("--minutes", type=float, default=inf)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args(words)
    same(given.out, {"sets": str(given.sets), "seeds": given.seeds, "steps": given.steps})
    until = time.monotonic() + 60 * given.minutes
    before = read_json(places[0]) if given.steps is None and places[0].exists() else None
    study = Study(given.out, given.seeds, given.steps, until, before["cells"] if before else {})
    left, code = "", 0
    try:
        everything(study, given)
    except Late as late:
        left = f"stopped before {late}"
    except (Stopped, KeyboardInterrupt) as stopped:
        left, code = str(stopped) or "interrupted", 130
    found = {"seeds": given.seeds, **about, "choices": study.choices, "cells": study.cells}
    if before:
        found = joined(found, before)
    found["made"] = "; ".join(sorted({cell["made"] for cell in found["cells"].values()}))
    found["whole"] = not left and groups <= set(map(group, found["cells"]))
    texts = (json.dumps(found, indent=1) + "\n", page(found))
    beside = (given.out / "results.json", given.out / "page.md")
    for place, text in zip(beside + places * (given.steps is None), texts * 2, strict=False):
        write_text(place, text)
    print(f"\n{left}; the same command goes on" if left else "\nall cells are there", flush=True)
    return code
