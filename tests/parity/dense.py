"""How far heads are from their references, by what is compared; docs/parity-dense.md.

python -m tests.parity.dense [--only 'detr*'] [--page]
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from patchword import catalogue, heads
from patchword.files import write_text
from tests.heads import HEADS, packaged
from tests.heads.differences import ALONE, NEAR, differences_apart, pairs
from tests.heads.peer import CLOSE, apart
from tests.heads.sets import LOSSES, SetPeer, sets_apart
from tests.heads.test_set_peers import within
from tests.heads.whole import makers, pair, referenced
from tests.parity import goldens, page

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("dense.json")
PAGE = ROOT / "docs" / "parity-dense.md"
SHARED = ROOT.parent / "shared" / "goldens"
SIZES = {"upernet": (256, 256)}  # by a head's file: of the images, larger than Swin's windows
SIZE = (128, 128)
LARGE = 150_000_000  # parameters; the gradients of larger networks are not compared
INDICES = "match."  # how the goldens' names of what is matched begin
POST = ("post", "panoptic_ids")  # and those of what post-processing makes
TERMS = {name: what for what, name in LOSSES.items()}
OUTPUTS = {"pred_logits": "scores", "pred_boxes": "boxes", "pred_masks": "masks"}
HEAD = """\
# Parity of heads

How far our heads are from their references with the same weights, made by
`python -m tests.parity.dense`. Measured on: {measured}.

Each figure is the largest difference over the largest value of its own tensor, in fp32. Names of
models are at their own widths on images of {size}, UPerNet of {upernet}; what is called `file,
kind` is a small network. Rows of libraries cover all layers' answers, the terms of the loss, which
queries are matched with which objects, and every gradient, in float64 and of no network of more
than {large:,} parameters. Detectors see two pictures, one of them padded; their `answers` are what
post-processing makes of the reference's scores and boxes. Rows of `authors` are goldens, made by
the authors' code; those of Axial-DeepLab are its backbone's, as nobody has its decoders. Rows of
`differences` hold the gradients of heads without a library against differences of what they say, in
float64.

| system | reference | run at | answers | losses | matched alike | gradients | |
| --- | --- | --- | --- | --- | --- | ---: | --- |
"""
SECOND = """
## Parameters and formats

Counted of ours, auxiliary heads included, at as many classes as the paper has; of transformers' at
the same, some of which hold a last norm that nothing reads; and what the authors say.
Multiply-adds are of one image of the model's size, without auxiliary heads. {counted}

| model | parameters | transformers' | claimed | MACs | formats |
| --- | ---: | ---: | --- | ---: | --- |
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One comparison.

    Attributes:
        system: a model's name; or a head's file, and the kind of network.
        reference: a library, authors, or differences.
        run_at: image size, or the golden.
        errors: by what they are of: losses begin with `loss`, `gradients` are so called.
        matched: what was matched alike, in words; empty where nothing is matched.
        parameters: transformers' count, of a model by its name.
    """

    system: str
    reference: str
    run_at: str
    errors: dict[str, float]
    matched: str = ""
    passed: bool
    parameters: int | None = None
    measured: str = field(default_factory=page.measured)


def by_name(name: str) -> Iterator[Seen]:
    """Compare a model with its live references, at its own width."""
    size = SIZES.get(heads.index()[name], SIZE)
    for library, make in makers(name).items():
        torch.manual_seed(0)
        peer = make(pair(name, size), heads.config(name).num_classes)
        count = counted(name, make) if library == "transformers" else None
        yield replace(compared(peer, name, f"{size[0]}x{size[1]}"), parameters=count)


def counted(name: str, make: Callable[[Any, int], Any]) -> int:
    """Count a live reference's parameters, at the image size of the name."""
    with torch.device("meta"):
        whole = make(pair(name), heads.config(name).num_classes).model
    return sum(parameter.numel() for parameter in whole.parameters())


def by_kind(name: str) -> Iterator[Seen]:
    """Compare a head's small networks with their live references."""
    for kind, make in HEADS[name].PEERS.items():
        torch.manual_seed(0)
        peer = make()
        rows, columns = peer.pair[0].image_size
        yield compared(peer, f"{name}, {kind}", f"{rows}x{columns}")


def compared(peer: Any, system: str, size: str) -> Seen:
    """Return how far ours is from a live reference."""
    matched, count = "", sum(parameter.numel() for parameter in peer.model.parameters())
    if isinstance(peer, SetPeer):
        errors = sets_apart(peer)
        passed, layers = within(errors), int(errors.pop("matched"))
        matched = f"{layers} of {layers} layers"
    else:
        errors = apart(peer, system, gradients=count <= LARGE)
        passed = all(error <= CLOSE[what] for what, error in errors.items())
    return Seen(
        system=system,
        reference="transformers" if isinstance(peer.format, str) else packaged.NAME,
        run_at=size,
        errors=errors,
        matched=matched,
        passed=passed,
    )


def by_goldens(name: str) -> Iterator[Seen]:
    """Compare a head with its authors' tensors."""
    for golden in goldens.names(SHARED / "dense_ssl_orig"):
        if goldens.reader(golden) not in HEADS[name].GOLDENS.values():
            continue
        errors: dict[str, float] = {}
        equal: list[bool] = []
        passed = True
        for key, one in goldens.differences(SHARED / "dense_ssl_orig", golden).items():
            passed &= one.close
            if key.startswith(INDICES):
                equal.append(one.error == 0)
                continue
            what = called(key)
            errors[what] = max(errors.get(what, 0.0), one.share)
        matched = f"{sum(equal) // 2} of {len(equal) // 2} images" if equal else ""
        yield Seen(
            system=name,
            reference="authors",
            run_at=golden,
            errors=errors,
            matched=matched,
            passed=passed and all(equal),
        )


def by_differences(name: str) -> Iterator[Seen]:
    """Compare the gradients of a head's tiny networks with differences."""
    for kind, tiny in pairs(name).items():
        error = differences_apart(name, tiny)
        rows, columns = tiny[0].image_size
        yield Seen(
            system=f"{name}, {kind}",
            reference="differences",
            run_at=f"{rows}x{columns}",
            errors={"gradients": error},
            passed=error <= NEAR,
        )


def called(key: str) -> str:
    """Return what an output of a golden is called on the page."""
    if key.startswith("loss"):
        term = re.sub(r"(_\d+|_enc)$", "", key.removeprefix("loss.").removeprefix("dict."))
        return f"loss {TERMS.get(term, term)}"
    if key.startswith(POST):
        return "answers"
    last = key.rpartition(".")[2]
    return OUTPUTS.get(last, key.partition(".")[0])


def kept(path: Path = KEPT) -> list[Seen]:
    """Read the rows that are kept."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [Seen(**row) for row in found]


def keep(rows: list[Seen], path: Path = KEPT) -> None:
    """Put rows in the places of those that they renew."""
    known = {(one.system, one.reference, one.run_at): one for one in [*kept(path), *rows]}
    lines = [json.dumps(asdict(known[key])) for key in sorted(known)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def told(one: Seen) -> str:
    """Return a row of the first table."""
    losses = {n.removeprefix("loss "): e for n, e in one.errors.items() if n.startswith("loss")}
    slopes = one.errors.get("gradients")
    rest = {
        name: error
        for name, error in one.errors.items()
        if not name.startswith("loss") and name != "gradients"
    }
    cells = [", ".join(f"{n} {e:.1e}" for n, e in part.items()) for part in (rest, losses)]
    gradients = "" if slopes is None else f"{slopes:.1e}"
    verdict = "pass" if one.passed else "**fail**"
    return (
        f"| {one.system} | {one.reference} | {one.run_at} | {cells[0]} | {cells[1]} "
        f"| {one.matched} | {gradients} | {verdict} |\n"
    )


def counts(rows: list[Seen]) -> Iterator[str]:
    """Yield the rows of the second table."""
    theirs = {one.system: one.parameters for one in rows if one.parameters}
    stored = catalogue.stored()
    for name in sorted(n for n in heads.index() if heads.config(n).backbone):
        family = heads.family(name)
        claim, figures = catalogue.claims(family).get(name), stored.get(name)
        ours = "" if figures is None else f"{figures.parameters:,}"
        macs = "" if figures is None else f"{figures.macs / 1e9:.1f} G"
        other = f"{theirs[name]:,}" if name in theirs else ""
        said = "" if claim is None or claim.params is None else f"{claim.params:g} M"
        if said and claim.source != "paper":
            said += f" ({claim.source})"
        names = ", ".join(form.name for form in family.FORMATS)
        yield f"| `{name}` | {ours} | {other} | {said} | {macs} | {names} |\n"


def draw(rows: list[Seen], path: Path = PAGE) -> None:
    """Write the page."""
    dates = "; ".join(sorted({one.measured for one in rows}))
    sizes = ["x".join(map(str, size)) for size in (SIZE, SIZES["upernet"])]
    head = HEAD.format(measured=dates, size=sizes[0], upernet=sizes[1], large=LARGE)
    second = SECOND.format(counted="Counted by `python -m tests.parity --count`.")
    write_text(path, head + "".join(map(told, rows)) + second + "".join(counts(rows)))


def main(words: list[str] | None = None) -> int:
    """Measure what is asked for, keep it and write the page; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*", help="a pattern of models' names and heads' files")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    given = parser.parse_args(words)
    ways = [(by_name, name) for name in referenced()]
    ways += [(way, name) for way in (by_kind, by_goldens) for name in HEADS]
    ways += [(by_differences, name) for name in ALONE]
    failed = 0
    for way, name in ways:
        if given.page or not fnmatchcase(name, given.only):
            continue
        rows = list(way(name))
        for one in rows:
            print(told(one), end="", flush=True)
        failed += sum(not one.passed for one in rows)
        keep(rows)
    draw(kept())
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
