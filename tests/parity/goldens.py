"""Our networks beside the reference tensors that the authors' own code made.

A family joins by a line in its `GOLDENS`: the beginning of a golden's name, and a reader, which
returns our outputs under the golden's names.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from tests.families import FAMILIES
from tests.heads import HEADS
from tests.parity.golden import Golden, Reader
from tests.text.goldens import GOLDENS as TEXT

PLANNED = ("orig_",)  # beginnings of names that no family reads yet; any other is a fault
LATER = (
    "dense_ssl_orig",
    "multimodal_orig",
)  # folders of later waves, but for what is read


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one golden."""

    name: str
    outcome: str  # pass, fail, unofficial, planned or unknown
    error: float | None = None  # the largest absolute difference
    tolerance: float | None = None  # absolute, at a value of 0
    share: float | None = None  # the largest difference over the largest value


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))


def reader(name: str) -> Reader | None:
    """Return the reader of a golden: that of the longest beginning which fits its name."""
    holders = (*FAMILIES.values(), *HEADS.values())
    known = {begin: read for f in holders for begin, read in f.GOLDENS.items()} | TEXT
    fits = [begin for begin in known if name.startswith(begin)]
    return known[max(fits, key=len)] if fits else None


def family_of(name: str) -> str | None:
    """Return the family that reads a golden."""
    read = reader(name)
    holders = {**FAMILIES, **{head.FAMILY: head for head in HEADS.values() if head.FAMILY}}
    return next((n for n, f in holders.items() if read and read in f.GOLDENS.values()), None)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one of our outputs is from the golden's."""

    error: float  # the largest absolute difference
    tolerance: float  # absolute, at a value of 0
    share: float  # the largest difference over the largest value
    close: bool


def differences(folder: Path, name: str) -> dict[str, Difference]:
    """Run our network on a golden's input, and hold each output against the golden's.

    A golden that holds less than its author's network has answered is compared in what it holds.
    """
    read, golden = reader(name), Golden(folder, name)
    assert read is not None
    with torch.no_grad():
        outputs = read(golden)
    if "held" in golden.about:  # kept in small
        outputs = {key: tensor for key, tensor in outputs.items() if key in golden.wanted}
    assert outputs
    found: dict[str, Difference] = {}
    limits = golden.about.get("tolerance") or {}
    for key, ours in outputs.items():
        wanted = golden.wanted[key]
        ours = ours[: len(wanted)] if ours.ndim else ours  # some hold the first sample alone
        largest, error = (
            part.double().abs().max().item() if part.numel() else 0.0
            for part in (wanted, ours.double() - wanted.double())
        )
        atol = limits.get("atol", 2e-5 * largest)
        close = torch.allclose(ours, wanted, rtol=limits.get("rtol", 1e-4), atol=atol)
        found[key] = Difference(
            error=error, tolerance=atol, share=error / (largest or 1.0), close=close
        )
    return found


def check(folder: Path, name: str) -> Verdict:
    """Run our network on a golden's input, and hold its outputs against the golden's."""
    if reader(name) is None:
        later = folder.name in LATER or name.startswith(PLANNED)
        return Verdict(name=name, outcome="planned" if later else "unknown")
    found = differences(folder, name).values()
    passed = all(one.close for one in found)
    worst, limit = max((one.error, one.tolerance) for one in found)
    return Verdict(
        name=name,
        outcome="unofficial" if "unofficial" in name else "pass" if passed else "fail",
        error=worst,
        tolerance=limit,
        share=max(one.share for one in found),
    )
