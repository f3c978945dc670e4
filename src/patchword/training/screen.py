"""What a training prints: what it found, how it goes, what came out."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

from patchword.data import Data, SplitCensus, said
from patchword.data.scenes import KINDS
from patchword.diagnosis.findings import of_classes
from patchword.evaluation.protocol import Finding, rows
from patchword.training.choose import Chosen
from patchword.training.settings import Settings

SAID = {
    "class": "{} classes",
    "labels": "{} labels, any number of them per picture",
    "shares": "shares of {} classes",
    "values": "{} values to predict",
    "mask": "{} classes of pixels",
    "depth": "depths",
    "objects": "{} classes of objects",
    "panoptic": "{} classes of segments",
}
NUMBERS = ("parameters", "MACs", "claimed top-1", "probability", "count", "pictures")
WIDE = 8  # scores, from which they stand below one another
NOTICED = 5  # lines about the data at most


def size(pair: tuple[int, int] | None) -> str:
    """Write rows and columns as people do."""
    return "?" if pair is None else f"{pair[0]}x{pair[1]}"


def split_words(name: str, split: SplitCensus) -> str:
    """Describe one split in a line."""
    if not split.count:
        return f"{name} no pictures"
    counts = [count for count in split.per_class if count]
    each = "-".join(map(str, sorted({min(counts), max(counts)}))) if counts else ""
    sizes = size(split.median)
    if split.smallest != split.largest:
        sizes = f"{size(split.smallest)} to {size(split.largest)}, median {sizes}"
    modes = ", ".join(mode for mode, _ in split.modes)
    bad = f", {len(split.unreadable)} unreadable" if split.unreadable else ""
    per = f" ({each} per class)" if counts and len(split.per_class) > 1 else ""
    return f"{name} {split.count:,} pictures{per}, {sizes} pixels, {modes}{bad}"


def first_screen(chosen: Chosen, settings: Settings, parameters: int, out: str) -> list[str]:
    """Say what was found, picked and assumed, and where it goes."""
    census, card, recipe = chosen.census, chosen.card, settings.recipe
    names = ", ".join(card.classes or ())
    minutes = settings.request.minutes
    budget = f" in {minutes:g} minutes" if minutes else ""
    epochs = settings.steps / settings.steps_per_epoch
    splits = {"train": census.train, "validation": census.validation, "test": census.test}
    if card.kind in KINDS:  # one class cannot stand for what is on a picture
        splits = {name: split and replace(split, per_class=()) for name, split in splits.items()}
    return [
        f"data      {chosen.data.name}: {SAID[card.kind].format(card.num_classes)}"
        + (f" ({names[:60]}{'...' if len(names) > 60 else ''})" if card.kind != "depth" else ""),
        *(f"          {split_words(name, split)}" for name, split in splits.items() if split),
        *(
            f"pixels    {line}"
            for name, split in splits.items()
            if split
            for line in said(name, split)
        ),
        f"model     {card.model}, {parameters / 1e6:.2f} M parameters, images "
        f"{size(card.preprocessing.image_size)}, {len(card.preprocessing.mean)} channels",
        *(f"init      {line}" for line in (chosen.start.words if chosen.start else ())),
        f"training  {settings.steps:,} steps of {recipe.batch_size} ({epochs:.1f} epochs){budget}, "
        f"{recipe.optim.name} {recipe.optim.peak(recipe.batch_size):g}, "
        f"seed {settings.request.seeds}",
        *resolution(settings),
        f"machine   {settings.device}, {settings.threads} threads, {settings.precision}, "
        f"{settings.workers} data processes",
        *(f"assumed   {line}" for line in settings.reasons),
        *(f"noticed   {line}" for line in noticed(chosen.data)),
        f"writing   {out}",
    ]


def resolution(settings: Settings) -> list[str]:
    """Say from which step on the training's pictures have which size, where it changes."""
    steps = [
        f"{s}x{s} from step {round(a * settings.steps):,}" for a, s in settings.recipe.resolution
    ]
    return [f"sizes     {', '.join(steps)}"] if steps else []


def noticed(data: Data) -> list[str]:
    """Say in short what `patchword doctor` says at length, as far as labels tell."""
    if data.train.kind in KINDS:
        return []
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    sources = {name: source for name, source in parts.items() if source is not None}
    found = [f"{remark.where}: {remark.why}" for remark in of_classes(sources)]
    more = [f"{len(found) - NOTICED} more; patchword doctor lists them"]
    return found if len(found) <= NOTICED else found[:NOTICED] + more


class Progress:
    """One refreshing line on a terminal; a line now and then where the output is kept."""

    def __init__(self, steps: int, *, every: float = 15.0) -> None:
        self.steps, self.every = steps, every
        self.terminal = sys.stdout.isatty()
        self.last = self.start = time.monotonic()
        self.first: int | None = None
        self.score = ""

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Show a row of the log."""
        if "loss" not in row:
            self.score = f"  validation {row['score']:.{'3f' if 'r2' in row else '1%'}}"
            return
        step, now = row["step"], time.monotonic()
        if self.first is None:
            self.first, self.start = step, now
        done = step - self.first
        left = clock((now - self.start) / done * (self.steps - step)) if done else "?"
        line = (
            f"step {step:,}/{self.steps:,}  loss {row['loss']:.4f}  lr {row['lr']:.2e}  "
            f"{row['images_per_second']:,.0f} images/s  data {row['waiting']:.0%}  left {left}"
            f"{self.score}"
        )
        if self.terminal:
            print(f"\r\x1b[2K{line}", end="\n" if step == self.steps else "", flush=True)
        elif step == self.steps or now - self.last > self.every:
            print(line, flush=True)
            self.last = now


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def scores_table(findings: Sequence[Finding]) -> None:
    """Print scores: a line per data set, split and setting; many scores below one another."""
    names = list(dict.fromkeys(score.name for f in findings for score in f.scores))
    under = any(score.under for f in findings for score in f.scores)
    if len(names) > WIDE and under:
        tall_tables(findings)
        return
    narrow = len(names) <= 5  # wider tables leave the intervals to the page and the JSON
    table(
        ("data", "split", "count", *(("under",) if under else ()), *names),
        [
            (
                finding.data,
                finding.split,
                f"{finding.count:,}",
                *((setting,) if under else ()),
                *(scores[n].words(interval=narrow) if n in scores else "" for n in names),
            )
            for finding in findings
            for setting, scores in rows(finding).items()
        ],
    )


def tall_tables(findings: Sequence[Finding]) -> None:
    """Print scores below one another, a column for each data set and split; then of classes."""
    heads = tuple(f"{f.data} {f.split}".strip() for f in findings)
    tables = [rows(finding) for finding in findings]
    whole = [found.get("", {}) for found in tables]
    names = dict.fromkeys(name for found in whole for name in found)
    table(
        ("score", *heads),
        [
            (name, *(found[name].words() if name in found else "" for found in whole))
            for name in names
        ],
    )
    for head, found in zip(heads, tables, strict=True):
        rest = {under: scores for under, scores in found.items() if under}
        names = dict.fromkeys(name for scores in rest.values() for name in scores)
        known = {u: s for u, s in rest.items() if not all(isnan(x.value) for x in s.values())}
        table(
            (head, *names),
            [(u, *(s[n].words() if n in s else "" for n in names)) for u, s in known.items()],
        )


def table(columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    """Print a table; numbers are on the right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        right = column in (
            "parameters",
            "MACs",
            "claimed top-1",
            "probability",
            "count",
            "pictures",
        )
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    for line in lines:
        shown.add_row(*map(escape, line))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a file or another program has no edge to fold at
    console.print(shown)
