"""The catalogue: what is known of every model, each figure from one place.

What takes time to find out is kept in a `figures.json` beside the files of `models/` and of
`heads/`, which `python -m tests.parity` writes: parameters and multiply-adds, counted, and how far
each reference is, measured. What authors say of their model stands in its file's `CLAIMS`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from patchword import heads, models
from patchword.claim import Claim
from patchword.config import read_json


def store(room: ModuleType = models) -> Path:
    """Return the file in which the figures of a room's models are kept."""
    return Path(room.__file__ or "").with_name("figures.json")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a reference is with the same weights: errors relative to the largest value."""

    logits: float
    features: float | None = None  # over the levels that the reference shows
    gradients: float | None = None  # over all parameters
    parameters: int | None = None  # the reference's count
    run_at: str  # image size, and what was not the name's own; or the golden
    passed: bool
    measured: str  # date, versions, processor


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was counted and measured of a model at its own image size, and with its own classes.

    A classifier has 1000; the parameters of a head for every pixel are counted with its auxiliary
    heads, whose multiply-adds are not.
    """

    parameters: int
    macs: int  # multiply-adds of convolutions and matrix products, for one image
    parity: dict[str, Agreement] = field(default_factory=dict[str, Agreement])  # by reference


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the catalogue."""

    model: str
    image_size: tuple[int, int]
    paper: str
    figures: Figures
    claim: Claim


def entry(name: str) -> Entry:
    """Look a model up.

    Raises:
        ConfigError: no model has that name.
    """
    from patchword.factory import describe

    dense = name in heads.index()
    family = (heads if dense else models).family(name)
    return Entry(
        model=name,
        image_size=describe(name).preprocessing.image_size,
        paper=paper(family),
        figures=stored()[name] if name in stored() else count(name),
        claim=claims(family).get(name, Claim()),
    )


def rows(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return what is known of models, as JSON has it."""
    return [
        {
            "model": found.model,
            **asdict(found.figures),
            "image_size": list(found.image_size),
            "paper": found.paper,
            "claim": asdict(found.claim),
        }
        for found in map(entry, names)
    ]


def claims(family: ModuleType) -> dict[str, Claim]:
    """Return what a family's authors say of their models, by name."""
    return vars(family).get("CLAIMS", {})


def paper(family: ModuleType) -> str:
    """Return the first line of a family's `Paper`."""
    lines = (family.__doc__ or "").splitlines()
    return next((s.removeprefix("Paper").strip() for s in lines if s.startswith("Paper")), "")


@cache
def stored() -> dict[str, Figures]:
    """Read the figures that are kept."""
    found: dict[str, Figures] = {}
    there = [store(room) for room in (models, heads) if store(room).exists()]
    held: dict[str, Any] = {name: kept for at in there for name, kept in read_json(at).items()}
    for name, kept in held.items():
        parity = {reference: Agreement(**seen) for reference, seen in kept["parity"].items()}
        found[name] = Figures(parameters=kept["parameters"], macs=kept["macs"], parity=parity)
    return found


def count(name: str) -> Figures:
    """Count parameters, and the multiply-adds of the whole network on one image.

    Without memory for weights, and with all tokens to the end, as the field counts: what a
    classifier leaves out in its last block is not taken off.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from patchword.factory import build, describe
    from patchword.heads.classify import Classifier
    from patchword.heads.panoptic import Panoptic

    card = describe(name)
    with torch.device("meta"):
        model = build(card).eval().requires_grad_(False)
        images = torch.empty(1, len(card.preprocessing.mean), *card.preprocessing.image_size)
        with FlopCounterMode(display=False) as counter:
            if isinstance(model, Classifier):
                pooled = model.backbone(images, taps=("final",)).pooled
                parts = pooled.chunk(len(model.head), dim=1)
                for head, part in zip(model.head.values(), parts, strict=True):
                    head(part)
            elif isinstance(model, Panoptic):
                model.answers(images)
            else:
                model(images)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Figures(parameters=parameters, macs=counter.get_total_flops() // 2)
