"""Which pictures a model is shown: those that were named, or telling ones that it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.decode import decode
from patchword.data.pixels import Pixels
from patchword.errors import ImageError
from patchword.portrait.sight import Sight
from patchword.training.use import files
from patchword.training.worded import titled

SHOWN = 16
MISTAKES, NEAR = 6, 5  # of them


class Picture(NamedTuple):
    """A picture, decoded, and what is known of it."""

    name: str
    pixels: UInt8[Tensor, "c h w"]  # before framing
    truth: str = ""
    why: str = ""  # it was chosen


def named(patterns: Sequence[str], pixels: Pixels) -> tuple[list[Picture], list[str]]:
    """Read the pictures that files, folders and globs name; and say what could not be read.

    Raises:
        DataError: one of them is nothing.
        ImageError: none of them can be read.
    """
    found, unread = list[Picture](), list[str]()
    for name in files(patterns)[:SHOWN]:
        try:
            found.append(Picture(Path(name).name, decode(Path(name), pixels)))
        except ImageError as error:
            unread.append(str(error))
    if not found:
        raise ImageError(unread[0])
    return found, unread


def telling(seen: Sight) -> list[Picture]:
    """Choose pictures: one that is surely right, the surest mistakes, near misses, more right ones.

    Where it is not one class that is known, they are spread over the source.
    """
    places = _telling(seen) if seen.right is not None else {}
    spread = torch.linspace(0, len(seen.source) - 1, min(SHOWN, len(seen.source))).int().tolist()
    for place in spread if not places else ():
        places.setdefault(place, "")
    return [
        Picture(seen.source.name(place), seen.source.read(place), titled(seen.source, place), why)
        for place, why in places.items()
    ]


def _telling(seen: Sight) -> dict[int, str]:
    assert seen.probabilities is not None and seen.labels is not None and seen.right is not None
    top = seen.probabilities.topk(min(2, seen.probabilities.shape[1]), dim=1).values
    margin = top[:, 0] - top[:, -1]
    right = torch.tensor(seen.right)
    surest = top[:, 0].argsort(descending=True, stable=True).tolist()
    wrong = [i for i in surest if not right[i]][:MISTAKES]
    close = [i for i in margin.argsort(stable=True).tolist() if right[i]][:NEAR]
    sure = [i for i in surest if right[i] and i not in close]
    first, rest, labels = sure[:1], list[int](), {int(seen.labels[i]) for i in sure[:1]}
    for place in sure[1:]:  # of further classes
        if int(seen.labels[place]) not in labels:
            labels.add(int(seen.labels[place]))
            rest.append(place)
    kinds = (("right", first), ("wrong", wrong), ("near miss", close), ("right", rest))
    chosen = {place: why for why, places in kinds for place in places}
    return dict(list(chosen.items())[:SHOWN])
