"""Views of a picture to answer it by, several of them, nothing left to chance.

Paper      mirrored pictures, and five crops: Krizhevsky et al. 2012, "ImageNet classification with
           deep convolutional neural networks", section 4.1; several scales: Simonyan and Zisserman
           2015, arXiv:1409.1556, section 4.2
Reference  torchvision.transforms.v2.functional.five_crop
Departures the crops are those of the picture as the model's card resizes it, which keeps more of it
           than their 224 of 256 pixels where the card says so
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.frame import Frame, frame, resize, resized_size
from patchword.errors import ConfigError, suggest

NAMES = ("flip", "crops", "scale=NUMBER")


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which views a picture is answered by: every crop at every scale, and their mirror images."""

    flip: bool = False  # the mirrored ones as well
    crops: bool = False  # the four corners beside the centre
    scales: tuple[float, ...] = (1.0,)  # of the picture before it is cut: 1.2 shows less of it

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0 or len({*self.scales}) < len(self.scales):
            raise ConfigError(f"scales is {self.scales}; wanted: numbers above 0, each once")

    @property
    def count(self) -> int:
        """How many there are of each picture."""
        return (1 + self.flip) * (5 if self.crops else 1) * len(self.scales)

    def __call__(self, image: UInt8[Tensor, "c h w"], into: Frame) -> UInt8[Tensor, "v c H W"]:
        """Make them of a picture of any size; the first one is the model's usual one.

        Raises:
            ConfigError: a scale makes the picture smaller than what is cut out of it.
        """
        if min(self.scales) < into.crop:
            raise ConfigError(
                f"scale={min(self.scales):g} leaves a border around the picture; wanted: at least "
                f"{into.crop:g}"
            )
        made = [view for scale in self.scales for view in self._cut(image, into, scale)]
        views = torch.stack(made)
        return torch.cat([views, views.flip(-1)]) if self.flip else views

    def _cut(self, image: Tensor, into: Frame, scale: float) -> list[Tensor]:
        closer = replace(into, crop=into.crop / scale)
        if not self.crops:
            return [frame(image, closer)]
        from torchvision.transforms.v2 import functional as F

        size = resized_size(image.shape[-2], image.shape[-1], closer)
        *corners, _ = F.five_crop(resize(image, size, into.interpolation), [*into.image_size])
        return [frame(image, closer), *corners]


def views(names: Iterable[str]) -> Views:
    """Read views from their names: flip, crops, and scale=NUMBER for one more scale each.

    Raises:
        ConfigError: a name is not known.
    """
    found = Views()
    for name in names:
        kind, _, number = name.partition("=")
        if name in ("flip", "crops"):
            found = replace(found, **{name: True})
        elif kind == "scale" and number.replace(".", "", 1).isdigit():
            found = replace(found, scales=(*found.scales, float(number)))
        else:
            raise ConfigError(f"no view is called {name!r}; {suggest(name, NAMES)}")
    return found


Average = Literal["probabilities", "logits"]
"""What is averaged over the views of a picture."""
