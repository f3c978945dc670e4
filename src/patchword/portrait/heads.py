"""What heads do, layer by layer: how far they look, and how spread."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from patchword.data.frame import frame
from patchword.inspection.distance import attention_distance
from patchword.inspection.drawn import Heads
from patchword.inspection.entropy import attention_entropy
from patchword.pages.inspect import Panel
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.predictor import normalise


def images(who: Sitter, shown: Sequence[Picture]) -> Float[Tensor, "b c h w"]:
    """Return pictures as a model reads them, on its device."""
    framed = torch.stack([frame(p.pixels, who.card.preprocessing) for p in shown])
    where = next(who.model.parameters()).device
    return normalise(framed.to(where), who.card.preprocessing)


def distance_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the mean attention distance of each head, by depth."""
    return _panel(who, [attention_distance(who.model, x[None]) for x in images(who, shown)])


def entropy_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the entropy of each head as a share of the most that it can be, by depth."""
    return _panel(who, [attention_entropy(who.model, x[None]).shares() for x in images(who, shown)])


def _panel(who: Sitter, found: Sequence[Heads]) -> Panel:
    """Average over pictures, of which one at a time was looked at: maps of many do not fit."""
    first = found[0]
    if not first:
        return Panel(absent=without(who))
    mean = {name: torch.stack([each[name] for each in found]).mean(dim=0) for name in first}
    return Panel(drawn=type(first)(mean).figure())


def without(who: Sitter) -> str:
    """Say that nothing attends, or that it cannot be seen."""
    return who.unseen or (
        f"{who.card.model} has no layer in which places of the picture attend to one another, so "
        "there is nothing of the kind to draw."
    )
