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


def check(folder: Path, name: str) -> Verdict:
    """Run our network on a golden's input, and hold its outputs against the golden's."""
    read, golden = reader(name), Golden(folder, name)
    if read is None:
        later = folder.name in LATER or name.startswith(PLANNED)
        return Verdict(name=name, outcome="planned" if later else "unknown")
    with torch.no_grad():
        found = read(golden)
    if "held" in golden.about:  # kept in small
        found = {key: tensor for key, tensor in found.items() if key in golden.wanted}
    assert found
    worst, limit, share, passed = 0.0, 0.0, 0.0, True
    for key, ours in found.items():
        wanted = golden.wanted[key]
        ours = (
            ours[: len(wanted)] if ours.ndim else ours
        )  # maps of the first sample are all that some hold
        limits = golden.about.get("tolerance") or {}
        atol = limits.get("atol", 2e-5 * wanted.abs().max().item())
        passed &= torch.allclose(ours, wanted, rtol=limits.get("rtol", 1e-4), atol=atol)
        error = (ours - wanted).abs().max().item()
        worst, limit = max((worst, limit), (error, atol))
        share = max(share, error / (wanted.abs().max().item() or 1.0))
    outcome = "unofficial" if "unofficial" in name else "pass" if passed else "fail"
    return Verdict(name=name, outcome=outcome, error=worst, tolerance=limit, share=share)
