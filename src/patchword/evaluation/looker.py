"""How models of scenes look at pictures of any sizes: all of them, and those that see them whole.

A picture is fitted into the sides that the model's card names, as in training, and what is answered
is brought back to the picture's own pixels.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from patchword.config import dump, parse
from patchword.data import Source
from patchword.data.frame import resize, seen_size
from patchword.data.scene import Scene
from patchword.errors import ImageError, ShapeError
from patchword.factory import build
from patchword.heads.detector import Answers, Detector, answers
from patchword.heads.panoptic import Panoptic, Parts
from patchword.layers import Grid
from patchword.predictor import Card, normalise


class Seen(NamedTuple):
    """A picture of a source, and what is known of it."""

    number: int  # in the source
    picture: UInt8[Tensor, "c h w"]
    scene: Scene


class Looker:
    """A model of scenes at work.

    Args:
        card: the model's.
        say: is told what a long look is at.
    """

    def __init__(self, card: Card, say: Callable[[str], None]) -> None:
        self.card, self.say = card, say
        self.free = reads_any_size(card)

    def scenes(self, source: Source) -> Iterator[Seen | str]:
        """Read every picture of a source and its scene; of one that cannot be read, say why."""
        for index in range(len(source)):
            self.say(f"picture {index + 1:,} of {len(source):,}")
            try:
                yield Seen(index, source.read(index), source.scene(index))
            except ImageError as error:
                yield str(error)

    def fitted(self, picture: UInt8[Tensor, "c h w"]) -> tuple[Float[Tensor, "1 c H W"], Grid]:
        """Return a picture as a model sees it whole, and how much of that is the picture.

        Where the network reads one size alone, the rest, right and below, is of the mean colour.
        """
        base, window = self.card.preprocessing, self.card.preprocessing.image_size
        within = base.within if self.free else (min(window), min(window))
        size = seen_size(picture.shape[-2], picture.shape[-1], within)
        seen = normalise(resize(picture, size, base.interpolation)[None], base)
        if not self.free:
            seen = F.pad(seen, (0, window[1] - size[1], 0, window[0] - size[0]))
        return seen, size

    def said(self, source: Source) -> str:
        """Say at which size the pictures of a source are seen, by the first that can be read."""
        for index in range(len(source)):
            try:
                _, size = self.fitted(source.read(index))
            except ImageError:
                continue
            return f"pictures were seen at {size[0]}x{size[1]} pixels, whole"
        return "nothing can be seen"


class Spotter(Looker):
    """A detector at work."""

    def __init__(
        self, model: Detector, card: Card, say: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__(card, say)
        self.model = model.eval()

    @torch.no_grad()
    def objects(self, picture: UInt8[Tensor, "c h w"]) -> Answers:
        """Say what is in a picture, in its own pixels, the surest first; masks are not drawn."""
        images, size = self.fitted(picture)
        where = next(self.model.parameters()).device
        images, padded = images.to(where), tuple(images.shape[2:])
        sizes = None if size == padded else torch.tensor([size], device=where)
        found = self.model(images, sizes)._replace(masks=None)
        own: Grid = tuple(picture.shape[1:])
        (said,) = answers(self.model.head, found, padded, [size], [own])
        order = said.scores.argsort(descending=True, stable=True)
        rows = (said.scores, said.labels, said.boxes)
        return Answers(*(part[order].cpu() for part in rows))


class Parter(Looker):
    """A model that parts pictures, at work."""

    def __init__(
        self, model: Panoptic, card: Card, say: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__(card, say)
        self.model = model.eval()

    @torch.no_grad()
    def parts(self, picture: UInt8[Tensor, "c h w"]) -> Parts:
        """Part a picture as it is seen, and read the segments at its own pixels, nearest ones.

        Segments of which no pixel is left are none.
        """
        images, (rows, columns) = self.fitted(picture)
        (found,) = self.model.parts(images.to(next(self.model.parameters()).device))
        ids = found.ids[None, None, :rows, :columns].double()
        ids = F.interpolate(ids, tuple(picture.shape[1:]), mode="nearest-exact")[0, 0].long()
        there = [k for k in ids.unique().tolist() if k]
        table = ids.new_zeros(len(found.labels) + 1)
        table[there] = torch.arange(1, len(there) + 1, device=ids.device)
        kept = ids.new_tensor(there) - 1
        return Parts(table[ids].cpu(), found.labels[kept].cpu())


def reads_any_size(card: Card) -> bool:
    """Tell whether a model reads pictures of other sizes than it was made for."""
    return _any_size(json.dumps(dump(replace(card, classes=None, provenance={}))))


@lru_cache(maxsize=16)  # to find out takes longer than to look at small pictures
def _any_size(about: str) -> bool:
    card = parse(Card, json.loads(about))
    rows, columns = card.preprocessing.image_size
    channels = len(card.preprocessing.mean)
    with torch.device("meta"):
        model = build(card).eval()
        try:
            model(torch.empty(1, channels, 2 * rows + 1, 3 * columns + 1))
        except ShapeError:
            return False
    return True
