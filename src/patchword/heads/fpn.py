"""A feature pyramid: levels at one width, each with the coarser ones added.

Paper      Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, arXiv:1612.03144
Reference  github.com/facebookresearch/detectron2, modeling/backbone/fpn.py
Departures none
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Levels at one width, each with the coarser ones added (FPN)."""

    def __init__(self, channels: Sequence[int], dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, dim, 1) for c in channels)
        self.output = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in channels)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_uniform_(conv.weight, a=1)
                assert conv.bias is not None
                nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b d _ _"]]:
        """Return the maps, finest first as they come."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(maps))):
            x = self.lateral[i](maps[i])
            if above is not None:
                x = x + F.interpolate(above, x.shape[2:], mode="nearest")
            above = x
            found.append(self.output[i](x))
        return found[::-1]
