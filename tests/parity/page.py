"""docs/parity.md: every model beside its references, made from the kept figures."""

import time
from functools import cache
from importlib.metadata import version
from pathlib import Path

from patchword import catalogue, models
from patchword.catalogue import Figures
from patchword.training.origin import processor
from tests.parity.compare import FULL, TOLERANCE, WORK

PAGE = Path(__file__).parents[2] / "docs" / "parity.md"
PEERS = ("timm", "transformers", "torchvision", "torch")
HEAD = """\
# Parity

How far our models are from their references with the same weights, made by
`python -m tests.parity`. Measured on: {measured}.

Every tensor of a live reference is moved away from its start and converted by our own formats,
there and back. Two images; fp32. Each figure is the largest difference over the largest value: of
the logits; of every level that the reference can show, maps and prefix tokens; of every parameter's
gradient. To pass is to stay within {logits:g}, {features:g} and {gradients:g}, with equally many
parameters. Networks of more than {full:,} parameters are compared at two blocks of full width, or
two per stage, and images are halved where one takes more than {work:g} multiply-adds. Rows of
`authors` are the family's golden tensors, made by its authors' code at small sizes, within their
own tolerance; the one with the largest error is named.

| model | parameters | claimed | reference | run at | logits | features | gradients | |
| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | --- |
"""


def write(known: dict[str, Figures]) -> None:
    """Write the page."""
    dates = {a.measured for figures in known.values() for a in figures.parity.values()}
    head = HEAD.format(measured="; ".join(sorted(dates)), full=FULL, work=WORK, **TOLERANCE)
    rows = [line for name in sorted(known) for line in lines(name, known[name])]
    PAGE.write_text(head + "".join(f"{row}\n" for row in rows), encoding="utf-8")


def lines(name: str, figures: Figures) -> list[str]:
    """Return a model's rows in Markdown, one for each reference."""
    claim = catalogue.claims(models.family(name)).get(name)
    claimed = "" if claim is None or claim.params is None else f"{claim.params:g} M"
    start = f"| `{name}` | {figures.parameters:,} | {claimed} "
    if not figures.parity:
        return [f"{start}| | | | | | |"]
    rows: list[str] = []
    for reference, found in figures.parity.items():
        errors = (found.logits, found.features, found.gradients)
        shown = " | ".join("" if error is None else f"{error:.1e}" for error in errors)
        verdict = "pass" if found.passed else "fail"
        rows.append(f"{start}| {reference} | {found.run_at} | {shown} | {verdict} |")
    return rows


@cache
def measured() -> str:
    """Say when and on what: date, versions, processor."""
    versions = ", ".join(f"{peer} {version(peer)}" for peer in PEERS)
    return f"{time.strftime('%Y-%m-%d')}, {versions}, {processor()}"
