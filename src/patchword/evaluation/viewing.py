"""How pictures of any size are looked at by a model that answers place by place.

A picture is fitted into the sides that the model's card names, as in training, and looked at whole
or through windows; what is answered is brought back to the picture's own size.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from patchword.data import Source
from patchword.data.frame import resize, seen_size
from patchword.errors import ConfigError, ImageError
from patchword.evaluation.looker import Looker
from patchword.evaluation.tiles import (
    Scores,
    Size,
    Windows,
    bands,
    probabilities,
    several,
    slide,
    sliding,
    whole,
)
from patchword.heads.dense import Dense
from patchword.predictor import Card, normalise

MUCH = 16  # times the model's own window, in pixels, from which a picture is seen through windows


@dataclass(frozen=True, kw_only=True)
class Viewing:
    """How a picture is looked at."""

    by: Literal["auto", "whole", "windows"] = "auto"  # auto: whole where the network reads any
    # size and the picture is not very large
    window: Size | None = None  # rows, columns; None: the model's own
    stride: float = 2 / 3  # from one window to the next, as a share of it
    scales: tuple[float, ...] = (1.0,)  # of the sides; over several, probabilities are averaged
    flip: bool = False  # look at mirror images, too

    def __post_init__(self) -> None:
        if not 0 < self.stride <= 1 or not self.scales or min(self.scales) <= 0:
            raise ConfigError(
                f"stride is {self.stride:g}, scales {list(self.scales)}; wanted: a share above 0, "
                "and one scale or more, all above 0"
            )

    @property
    def once(self) -> bool:
        """Whether a picture is looked at once, as it is."""
        return self.scales == (1.0,) and not self.flip


class Viewer(Looker):
    """A dense model at work on pictures of any sizes.

    Args:
        model: with its head.
        card: its own.
        say: is told what a long look is at.
    """

    def __init__(
        self, model: Dense, card: Card, say: Callable[[str], None] = lambda line: None
    ) -> None:
        super().__init__(card, say)
        self.model = model.eval()

    @property
    def window(self) -> Size:
        """The size that the model learnt at."""
        return self.card.preprocessing.image_size

    def windows(self, size: Size, how: Viewing) -> Windows | None:
        """Return the windows through which a picture of a size is seen; None: it is seen whole.

        Raises:
            ConfigError: it is to be seen in a size that the network cannot read.
        """
        window = how.window or self.window
        if not self.free and (how.by == "whole" or window != self.window):
            raise ConfigError(
                f"{self.card.backbone} reads pictures of {self.window[0]}x{self.window[1]} pixels "
                "alone: leave by and window as they are"
            )
        large = size[0] * size[1] > MUCH * self.window[0] * self.window[1]
        if how.by == "whole" or (how.by == "auto" and self.free and not large):
            return None
        step = tuple(max(1, int(side * how.stride)) for side in window)
        return Windows(size=window, stride=(step[0], step[1]))

    def parts(
        self, picture: UInt8[Tensor, "c h w"], how: Viewing
    ) -> Iterator[tuple[slice, Float[Tensor, "1 k rows w"]]]:
        """Answer a picture at its own size, some rows after others: only these are held.

        Yields:
            the rows, and what is answered there: logits, of several looks probabilities, or depths.
        """
        size: Size = (picture.shape[-2], picture.shape[-1])
        base = self.card.preprocessing
        seen = resize(picture, seen_size(*size, base.within), base.interpolation)
        where = next(self.model.parameters()).device
        images = normalise(seen[None].to(where), base)
        if not how.once:
            depth = self.card.kind == "depth"
            found = several(
                lambda x: self.look(x, how),
                images,
                how.scales,
                size=size,
                flip=how.flip,
                averaged=torch.clone if depth else probabilities,
            )
            yield from bands(found, size)
            return
        windows = self.windows((images.shape[-2], images.shape[-1]), how)
        if windows is not None and seen.shape == picture.shape:
            yield from sliding(self.small, images, windows)
        else:
            yield from bands(self.look(images, how), size)

    @torch.no_grad()
    def look(self, images: Float[Tensor, "1 c h w"], how: Viewing) -> Scores:
        """Look at a picture whole or through windows, as its size has it."""
        windows = self.windows((images.shape[-2], images.shape[-1]), how)
        return whole(self.model, images) if windows is None else slide(self.small, images, windows)

    @torch.no_grad()
    def small(self, images: Float[Tensor, "1 c h w"]) -> Scores:
        """Look at a window, which a small picture does not fill: filled up if it has to be."""
        if self.free:
            return whole(self.model, images)
        rows, columns = images.shape[-2:]
        padded = F.pad(images, (0, self.window[1] - columns, 0, self.window[0] - rows))
        return whole(self.model, padded)[:, :, :rows, :columns]

    def classes(self, picture: UInt8[Tensor, "c h w"], how: Viewing) -> UInt8[Tensor, "h w"]:
        """Return the class of each pixel of a picture, as the model numbers them."""
        parts = self.parts(picture, how)
        return torch.cat([part.argmax(dim=1)[0].to(torch.uint8).cpu() for _, part in parts])

    def depths(self, picture: UInt8[Tensor, "c h w"], how: Viewing) -> Float32[Tensor, "h w"]:
        """Return what is answered of the depth of each pixel of a picture."""
        return torch.cat([part[0, 0].float().cpu() for _, part in self.parts(picture, how)])

    def words(self, source: Source, how: Viewing) -> str:
        """Say how the pictures of a source are seen, by the size of the first that can be read."""
        base = self.card.preprocessing
        for index in range(len(source)):
            try:
                size = seen_size(*source.header(index).size, base.within)
            except ImageError:
                continue
            windows = self.windows(size, how)
            seen = f"at {size[0]}x{size[1]} pixels, " if base.within else "at their own size, "
            rows, columns = (windows or Windows(size=(1, 1), stride=(1, 1))).size
            looks = "" if how.once else f", {len(how.scales)} scales"
            looks += ", mirrored as well" if how.flip else ""
            return seen + (f"through windows of {rows}x{columns}" if windows else "whole") + looks
        return "nothing can be seen"
