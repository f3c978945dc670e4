"""Measure how far our models are from their references, and write it down.

python -m tests.parity                 every name: src/patchword/models/figures.json, docs/parity.md
python -m tests.parity --only 'cait*'  these names anew, the others as they were
python -m tests.parity --count         parameters and multiply-adds alone
python -m tests.parity FOLDER          the authors' own tensors in a folder of goldens
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import torch

from patchword import catalogue, heads, models
from patchword.catalogue import Figures
from patchword.factory import list_models
from patchword.files import write_text
from tests.parity import families, goldens, page
from tests.parity.agreement import from_goldens, look

TASKS = 8  # models that one process compares: torch and its allocator keep what large ones took


def main() -> int:
    """Do what the command line says; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of goldens")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of model names")
    parser.add_argument("--count", action="store_true", help="compare nothing")
    given = parser.parse_args()
    if given.folder is not None:
        return golden_table(given.folder)
    return counts(given.only) if given.count else measure(given.only)


def counts(patterns: list[str]) -> int:
    """Count the names of patterns anew, and keep what else is known of them."""
    stored = catalogue.stored()
    for room in (models, heads):
        names = [name for name in list_models() if name in room.index()]
        known = {name: figures for name, figures in stored.items() if name in names}
        for name in names:
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                parity = known[name].parity if name in known else {}
                known[name] = replace(catalogue.count(name), parity=parity)
        record(known, room)
    return 0


def named(patterns: list[str]) -> list[str]:
    """Return the names that any of the patterns fits."""
    return [name for name in models.index() if any(fnmatchcase(name, p) for p in patterns)]


def measure(patterns: list[str]) -> int:
    """Compare the names of patterns, keep what came out, and write the pages."""
    start, failed = time.monotonic(), 0
    known = {n: f for n, f in catalogue.stored().items() if n in models.index()}
    names = named(patterns)
    authors = from_goldens({models.index()[name] for name in names})
    queue = dearest_first(names)
    with get_context("spawn").Pool(
        None, torch.set_num_threads, (1,), maxtasksperchild=TASKS
    ) as pool:
        for name, seen in pool.imap_unordered(look, queue):
            if isinstance(seen, str):
                print(f"{name} FAILED: {seen}", flush=True)
                failed += 1
                continue
            figures, live = seen
            found = {**authors.get(models.index()[name], {}), **live}
            known[name] = replace(figures, parity=found)
            record(known)
            for line in page.lines(name, known[name]):
                print(line, flush=True)
            failed += sum(not agreement.passed for agreement in found.values())
    print(f"{len(names)} models, {failed} failed, {time.monotonic() - start:.0f} s")
    return int(failed > 0)


def dearest_first(names: list[str]) -> list[str]:
    """Order names by their work, so that no long one is left to the end."""
    known = catalogue.stored()
    return sorted(names, key=lambda name: -known[name].macs if name in known else 0)


def record(known: dict[str, Figures], room: ModuleType = models) -> None:
    """Write the figures of a room's models, in order of their names, and the pages of `models`."""
    plain = {name: asdict(known[name]) for name in sorted(known)}
    write_text(catalogue.store(room), json.dumps(plain, indent=1) + "\n")
    if room is models:
        page.write(known)
        families.write(known)


def golden_table(folder: Path) -> int:
    """Check every golden of a folder."""
    names = goldens.names(folder)
    if not names:
        print(f"there are no goldens in {folder}: name a folder of NAME.json files")
        return 2
    print(f"{'golden':48} {'error':>9} {'tolerance':>9}  outcome")
    failed = 0
    for name in names:
        verdict = goldens.check(folder, name)
        failed += verdict.outcome in ("fail", "unknown")
        error, limit = ("" if x is None else f"{x:.1e}" for x in (verdict.error, verdict.tolerance))
        print(f"{name:48} {error:>9} {limit:>9}  {verdict.outcome}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
