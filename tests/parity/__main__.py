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
from pathlib import Path
from types import ModuleType

from patchword import catalogue, heads, models
from patchword.catalogue import Agreement, Figures
from patchword.factory import list_models
from patchword.files import write_text
from tests.parity import goldens, page
from tests.parity.compare import affordable, compare

SHARED = Path(__file__).parents[3] / "shared" / "goldens"


def main() -> int:
    """Do what the command line says; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="of goldens")
    parser.add_argument("--only", default="*", help="a pattern of model names")
    parser.add_argument("--count", action="store_true", help="compare nothing")
    given = parser.parse_args()
    if given.folder is not None:
        return golden_table(given.folder)
    return counts(given.only) if given.count else measure(given.only)


def counts(pattern: str) -> int:
    """Count the names of a pattern anew, and keep what else is known of them."""
    stored = catalogue.stored()
    for room in (models, heads):
        names = [name for name in list_models() if name in room.index()]
        known = {name: figures for name, figures in stored.items() if name in names}
        for name in names:
            if fnmatchcase(name, pattern):
                parity = known[name].parity if name in known else {}
                known[name] = replace(catalogue.count(name), parity=parity)
        keep(known, room)
        if room is models:
            page.write(known)
    return 0


def measure(pattern: str) -> int:
    """Compare the names of a pattern, keep what came out, and write the page."""
    start, failed = time.monotonic(), 0
    known = {n: f for n, f in catalogue.stored().items() if n in models.index()}
    names = [name for name in models.index() if fnmatchcase(name, pattern)]
    authors = from_goldens({models.index()[name] for name in names})
    for name in names:
        figures = catalogue.count(name)
        found = {**authors.get(models.index()[name], {}), **from_peers(name)}
        known[name] = replace(figures, parity=found)
        keep(known)
        page.write(known)
        for line in page.lines(name, known[name]):
            print(line, flush=True)
        failed += sum(not agreement.passed for agreement in found.values())
    print(f"{len(names)} models, {failed} failed, {time.monotonic() - start:.0f} s")
    return int(failed > 0)


def keep(known: dict[str, Figures], room: ModuleType = models) -> None:
    """Write the figures of a room's models, in order of their names."""
    plain = {name: asdict(known[name]) for name in sorted(known)}
    write_text(catalogue.store(room), json.dumps(plain, indent=1) + "\n")


def from_peers(name: str) -> dict[str, Agreement]:
    """Hold a model against its live references."""
    return {
        row.reference: Agreement(
            logits=row.logits,
            features=row.features,
            gradients=row.gradients,
            parameters=row.parameters[1],
            run_at=row.run_at,
            passed=row.passed,
            measured=page.measured(),
        )
        for row in compare(name, affordable(name))
    }


def from_goldens(families: set[str]) -> dict[str, dict[str, Agreement]]:
    """Hold families against their authors' tensors: the worst of each family's goldens."""
    found: dict[str, dict[str, Agreement]] = {}
    for folder in sorted(SHARED.glob("*")):
        for name in goldens.names(folder):
            family = goldens.family_of(name)
            if family not in families or family is None:
                continue
            verdict = goldens.check(folder, name)
            if verdict.share is None or verdict.outcome == "unofficial":
                continue
            agreement = Agreement(
                logits=verdict.share,
                run_at=name,
                passed=verdict.outcome == "pass",
                measured=page.measured(),
            )
            worst = found.get(family, {}).get("authors", agreement)
            if (not agreement.passed, agreement.logits) >= (not worst.passed, worst.logits):
                found[family] = {"authors": agreement}
    return found


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
