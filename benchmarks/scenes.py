"""What dense prediction learns in minutes on two cores, beside transformers: a study in cells.

    python -m benchmarks.scenes [SETS] [--minutes 50] [--only 'street/*'] [--steps N]
        [--out runs/scenes] [--page]

Street scenes (CamVid): a SegFormer of B0's size beside transformers', a Segmenter and a small
SETR-PUP on a ViT. Blood cells (BCCD): Deformable DETR beside transformers', Sparse R-CNN, and DETR
as it is. A room (7-Scenes): DPT. From scratch; ours also on backbones that were trained here
before, as classifiers of tiny_imagenet_20's pictures.

Both sides of a pair go through the same loop, with the same batches, optimizer and steps, by seed;
transformers' network with its own weights at the start and its own loss. Steps are those that fit
into a system's minutes from scratch, measured once. Steps and finished cells gather in
benchmarks/scenes.json, from which docs/dense-study.md is drawn, with what benchmarks.overfit kept.
The same command goes on where it was stopped or killed, in a cell too; with --minutes it stops by
itself. Pictures of what was answered lie in OUT, as the sets are not ours to give away. --steps
cuts every training short, to try the way through; what comes out then stays in OUT.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import torch

from benchmarks.scenes_learners import MAKERS, Field
from benchmarks.scenes_page import page
from patchword import checkpoints, train
from patchword.data import Pixels, open_data
from patchword.data.joint import Joint
from patchword.data.scene_batches import SceneBatches
from patchword.engine.loop import Plan, fit, step
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.schedule import Schedule
from patchword.engine.state import State
from patchword.errors import Stopped
from patchword.files import write_text
from patchword.weights import fill
from tests.parity.page import measured

KEPT = Path(__file__).with_name("scenes.json")
PAGE = Path(__file__).parents[1] / "docs" / "dense-study.md"
WARM, SAMPLE = 3, 8.0  # steps that are not timed, and seconds of those that are
ROUNDED = 10  # steps
BACKBONE_MINUTES = 12
PICTURES = "tiny_imagenet_20"  # that backbones are trained on
LOG = 50  # steps
FIELDS = {
    "street": Field("camvid", "mask", (256, 256), (480, 360), "validation", batch_size=4),
    "cells": Field(
        "bccd_voc", "objects", (192, 256), (256, 192), "test", Joint(scale=(0.8, 1.25), crop=1.0)
    ),
    "room": Field(
        "depth_7scenes",
        "depth",
        (192, 256),
        (256, 192),
        "validation",
        Joint(scale=(1.0, 1.5), crop=1.0, distort=None),
    ),
}
DENSE = (
    Optim(lr=1e-3, weight_decay=0.05, clip=1.0),
    Schedule(kind="poly", power=0.9, warmup_share=0.05),
)
SETS = (
    Optim(lr=4e-4, weight_decay=1e-4, clip=0.1),
    Schedule(kind="steps", falls=(0.8,), warmup_share=0.05),
)


@dataclass(frozen=True)
class Trial:
    """One system on one data set, with as many cells as seeds."""

    field: str
    system: str
    minutes: float = 8.0
    seeds: int = 1
    by: str = "ours"  # one of MAKERS
    start: str = ""  # the backbone that it starts from; from scratch if there is none

    @property
    def name(self) -> str:
        """Return what its cells are called, but for the seed."""
        return f"{self.field}/{self.system}/{self.by}{', started' * bool(self.start)}"


TRIALS = (
    Trial("street", "segformer", seeds=3),
    Trial("street", "segformer", seeds=3, by="transformers"),
    Trial("street", "segformer", by="ours, their fresh weights"),
    Trial("cells", "deformable_detr", 15.0, seeds=2),
    Trial("cells", "deformable_detr", 15.0, seeds=2, by="transformers"),
    Trial("street", "segmenter"),
    Trial("street", "setr_pup"),
    Trial("cells", "sparse_rcnn", 15.0),
    Trial("cells", "detr", 15.0),
    Trial("room", "dpt"),
    Trial("room", "dpt_mit_b0"),
    Trial("street", "segformer", seeds=3, start="mit_b0"),
    Trial("cells", "deformable_detr", 15.0, seeds=2, start="resnet18"),
    Trial("room", "dpt_mit_b0", start="mit_b0"),
)


class Late(Exception):
    """The time of this sitting is over; a later one goes on."""


class Study:
    """What is known so far, and where it is kept.

    Args:
        sets: the folder of data sets.
        out: where trainings are kept.
        kept: the file of results.
        steps: of every training; None: as it is measured.
        until: by `time.monotonic`: no step begins after it.
    """

    def __init__(
        self, sets: Path, out: Path, kept: Path, steps: int | None = None, until: float = inf
    ) -> None:
        self.sets, self.out, self.kept, self.few, self.until = sets, out, kept, steps, until
        found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        self.steps: dict[str, int] = found.get("steps", {})
        self.cells: dict[str, Any] = found.get("cells", {})

    def keep(self) -> None:
        """Write down what is known."""
        found = {"steps": self.steps, "cells": dict(sorted(self.cells.items()))}
        write_text(self.kept, json.dumps(found, indent=1) + "\n")

    def late(self) -> bool:
        """Tell whether the time is over."""
        return time.monotonic() > self.until

    def cell(self, trial: Trial, seed: int) -> None:
        """Train and score a cell, unless it is there."""
        name = f"{trial.name}/{seed}"
        if name in self.cells:
            return
        if self.late():
            raise Late(name)
        print(f"\n== {name}", flush=True)
        field, data = FIELDS[trial.field], self.data(trial.field)
        steps = self.length(trial, data)
        state = self.state(trial, field, data, seed)
        run = Run(self.out / name)
        run.path.mkdir(parents=True, exist_ok=True)
        plan = plan_of(field, steps, seed)
        fit(state, Feed(field, data, seed), plan, run, watch=watch, stop=self.late)
        rows = [row for row in run.rows() if "loss" in row]
        scores, pictures = field.scored(state.task.model, getattr(data, field.split))
        for title, picture in pictures.items():
            picture.save(run.path / f"{title}.png")
        self.cells[name] = {
            **asdict(trial),
            "seed": seed,
            "steps": steps,
            "batch_size": field.batch_size,
            "parameters": sum(p.numel() for p in state.task.model.parameters()),
            "seconds": round(sum(row["seconds"] for row in rows), 1),
            "losses": [round(row["loss"], 4) for row in rows[:: max(len(rows) // 8, 1)]],
            "scores": scores,
            "made": measured(),
        }
        self.keep()
        print(f"   {next(iter(scores.items()))}", flush=True)

    def data(self, name: str) -> Any:
        """Open a field's data set."""
        field = FIELDS[name]
        return open_data(f"{field.kind}:{self.sets / field.folder}", pixels=Pixels(), seed=0)

    def state(self, trial: Trial, field: Field, data: Any, seed: int) -> State[Any]:
        """Return a network, its objective and its optimizer, before the first step."""
        torch.manual_seed(seed)
        classes = 1 if field.kind == "depth" else len(data.train.classes)
        started = bool(trial.start)
        task = MAKERS[trial.by](trial.system, field, classes, started=started)
        if trial.start:
            trained = checkpoints.load(self.backbone(trial.start)).backbone.state_dict()
            own = task.model.backbone
            fill(own, {name: trained[name] for name in own.state_dict()})
        settings = (SETS if field.kind == "objects" else DENSE)[0]
        spine = [] if trial.by == "transformers" else task.model.backbone.spine()
        return State(task, optimizer(settings, task, spine, field.batch_size))

    def length(self, trial: Trial, data: Any) -> int:
        """Return the steps that fit into a system's minutes; measured once, with ours."""
        key = f"{trial.field}/{trial.system}"
        if self.few:
            return self.few
        if key not in self.steps:
            field = FIELDS[trial.field]
            state = self.state(replace(trial, by="ours", start=""), field, data, 0)
            feed, plan = Feed(field, data, 0)(0), plan_of(field, 1000, 0)
            with closing(feed):
                for _ in range(WARM):
                    step(state, next(feed), plan)
                done, start = 0, time.perf_counter()
                while done < 2 or time.perf_counter() - start < SAMPLE:
                    step(state, next(feed), plan)
                    done += 1
            pace = done / (time.perf_counter() - start)
            self.steps[key] = max(round(60 * trial.minutes * pace / ROUNDED), 1) * ROUNDED
            self.keep()
        return self.steps[key]

    def backbone(self, name: str) -> Path:
        """Return a run in which a backbone was trained, which is trained now if it is not there."""
        key = f"backbones/{name}"
        path = self.out / key
        if (path / "model.safetensors").exists():
            return path
        if self.late():
            raise Late(key)
        print(f"\n== {key}", flush=True)
        words = {"model": name, "image_size": 64, "workers": 0, "out": path}
        known = self.few or self.steps.get(key)
        length = {"settings": [f"steps={known}"]} if known else {"minutes": BACKBONE_MINUTES}
        run = train(str(self.sets / PICTURES), **words, **length)
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))["settings"]
        self.steps[key] = settings["steps"]
        self.cells[key] = {
            "system": name,
            "steps": settings["steps"],
            "scores": {split: found["top1"] for split, found in run.scores.items()},
            "made": measured(),
        }
        self.keep()
        return path


class Feed:
    """The one batch of each step, as a function of the seed and its number."""

    def __init__(self, field: Field, data: Any, seed: int) -> None:
        self.field = field
        self.batches = SceneBatches(
            data.train,
            joint=field.joint,
            frame=field.frame,
            batch_size=field.batch_size,
            seed=seed,
        )

    def __call__(self, start: int) -> Iterator[list[Any]]:
        for number in count(start):
            yield [self.field.read(self.batches[number])]


def plan_of(field: Field, steps: int, seed: int) -> Plan:
    """Return how long to train, and how."""
    optim, schedule = SETS if field.kind == "objects" else DENSE
    return Plan(
        steps=steps,
        batch_size=field.batch_size,
        warmup=schedule.warmup(steps, 1),
        schedule=schedule,
        clip=optim.clip,
        seed=seed,
        log=min(LOG, steps),
    )


def watch(row: Any) -> None:
    """Show a row of the log."""
    if "loss" in row:
        print(f"   step {row['step']}: loss {row['loss']:.4f}", flush=True)


def everything(study: Study, only: str) -> None:
    """Train every cell of a pattern, or as many as there is time for, seed by seed."""
    for seed in range(max(trial.seeds for trial in TRIALS)):
        for trial in TRIALS:
            if seed < trial.seeds and fnmatchcase(f"{trial.name}/{seed}", only):
                study.cell(trial, seed)


def main(words: list[str] | None = None) -> int:
    """Train what is missing for as long as there is time, and draw the page of what is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="?", default=Path("../shared/sets"))
    parser.add_argument("--minutes", type=float, default=inf)
    parser.add_argument("--only", default="*", help="a pattern of cells")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--page", action="store_true", help="train nothing")
    given = parser.parse_args(words)
    kept = KEPT if given.steps is None else given.out / "scenes.json"
    until = time.monotonic() + 60 * given.minutes
    study, left, code = Study(given.sets, given.out, kept, given.steps, until), "", 0
    if not given.page:
        given.out.mkdir(parents=True, exist_ok=True)
        try:
            everything(study, given.only)
        except Late as late:
            left = f"stopped before {late}"
        except Stopped as stopped:
            left = str(stopped)
        except KeyboardInterrupt:
            left, code = "interrupted", 130
    text = page(asdict_of(study))
    write_text(PAGE if given.steps is None else given.out / "page.md", text)
    done = "" if given.page else "\nall cells of the pattern are there"
    print(f"\n{left}; the same command goes on" if left else done, flush=True)
    return code


def asdict_of(study: Study) -> dict[str, Any]:
    """Return what the page is drawn from."""
    trials = [{**asdict(trial), "name": trial.name} for trial in TRIALS]
    return {"cells": study.cells, "trials": trials, "backbone_minutes": BACKBONE_MINUTES}


if __name__ == "__main__":
    sys.exit(main())
