"""What a paper says of its own model, apart from anything that we measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """Figures of one model, by its authors; None where they state none."""

    params: float | None = None  # millions
    macs: float | None = None  # multiply-adds for one image of the model's size, billions
    top1: float | None = None  # ImageNet-1k validation, percent
    source: str = "paper"  # where the figures stand: paper, README, ...
