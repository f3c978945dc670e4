"""LR-Net: ResNets whose convolutions over space are local relations.

Paper      Hu et al., "Local Relation Networks for Image Recognition", ICCV 2019, arXiv:1904.11491
Reference  the paper; for what lies beyond the border, its authors' kernel: branch LR-Net of
           github.com/microsoft/Swin-Transformer, ops/local_relation (no network, no weights)
Departures none known, but the network is pieced together: table 1 was not read, and the depths and
           the 100 channels within a block of 256 are those at which the paper's counts come out
           (14.7 M and 23.3 M parameters, here 14.6 M and 23.4 M). Where the paper is silent: values
           are projected, as its counts of parameters imply; the prior's hidden layer is as wide as
           its output; offsets are counted in half windows; where channels are no multiple of those
           that share weights, the last share is smaller
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import LocalOperator, Residual
from patchword.models.resnet import ConvNorm, ResNet, StagesConfig, Stem, conv, shortcut

Similarity = Literal["product", "absolute", "squared"]
"""How well two cells go together: q k, -|q - k| or -(q - k)^2 (equations 4 to 6)."""


@dataclass(frozen=True, kw_only=True)
class LRNetConfig(StagesConfig):
    """A ResNet, local relations in place of its convolutions (section 4)."""

    ratio: float = 100 / 256  # channels within a block per channel as it leaves
    kernel_size: int = 7  # cells along a side of the window, odd
    share: int = 8  # channels that share weights
    similarity: Similarity = "product"

    def build(self) -> "LRNet":
        """Make the backbone, with fresh weights."""
        return LRNet(self)


VARIANTS = {
    "lrnet26": LRNetConfig(depth=(2, 2, 2, 2)),
    "lrnet50": LRNetConfig(depth=(3, 4, 6, 3)),
}

CLAIMS = {
    "lrnet26": Claim(params=14.7, macs=2.6, top1=75.7, source="abstract and its listings"),
    "lrnet50": Claim(params=23.3, macs=4.3, top1=77.3, source="Axial-DeepLab's table 1"),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = ()  # nobody has weights of it

BEYOND = -100.0  # the similarity of a cell that is not on the map


class Relation(LocalOperator):
    """softmax(similarity of query and key + prior of their offset) over a window (equation 2).

    A key or query is one number per head. A cell beyond the border has a value of 0 and a low
    similarity, but it does take part.
    """

    similarity: Similarity

    def __init__(self, heads: int, kernel_size: int, stride: int, similarity: Similarity) -> None:
        super().__init__(kernel_size, "zero", stride)
        self.similarity = similarity
        self.prior = nn.Sequential(
            nn.Linear(2, heads), nn.ReLU(), nn.Linear(heads, heads, bias=False)
        )
        steps = torch.linspace(-1, 1, kernel_size)
        self.register_buffer("offsets", torch.cartesian_prod(steps, steps), persistent=False)

    offsets: Tensor

    def alike(
        self, q: Float[Tensor, "b heads rows columns"], k: Float[Tensor, "b heads rows columns"]
    ) -> Float[Tensor, "b heads rows columns"]:
        """Return how well cells go together."""
        match self.similarity:
            case "product":
                return q * k
            case "absolute":
                return -(q - k).abs()
            case "squared":
                return -(q - k).square()

    def shares(
        self, q: Float[Tensor, "b heads rows columns"], k: Float[Tensor, "b heads h w"]
    ) -> Float[Tensor, "b heads window rows columns"]:
        """Softmax over the window, border and all."""
        scores = torch.stack([self.alike(q, key) for key in self.around(k)], dim=2)
        inside = torch.stack(self.around(torch.ones_like(k[:1, :1])), dim=2)
        prior = self.prior(self.offsets).T[:, :, None, None]
        return (scores.masked_fill(inside == 0, BEYOND) + prior).softmax(2)


class LocalRelation(nn.Module):
    """Mix the cells of each window, in place of a convolution (section 3.2).

    Args:
        dim: channels.
        share: channels that share weights: a head.
        kernel_size: cells along a side of the window.
        stride: cells from one window to the next.
        similarity: of two cells.
    """

    def __init__(
        self, dim: int, share: int, kernel_size: int, stride: int, similarity: Similarity
    ) -> None:
        super().__init__()
        self.share, self.stride, self.heads = share, stride, -(-dim // share)
        self.q = nn.Conv2d(dim, self.heads, 1, stride=stride, bias=False)
        self.k = nn.Conv2d(dim, self.heads, 1, bias=False)
        self.v = nn.Conv2d(dim, dim, 1, bias=False)
        self.attend = Relation(self.heads, kernel_size, stride, similarity)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c rows columns"]:
        """Return a cell per window."""
        q, v = self.q(x), self.v(x).flatten(2)
        full = F.pad(v, (0, 0, 0, self.heads * self.share - v.shape[1]))
        mixed = self.attend(q, self.k(x), full.unflatten(1, (self.heads, -1)).mT)
        return mixed.mT.flatten(1, 2)[:, : v.shape[1]].unflatten(2, q.shape[2:])


class LRNet(ResNet):
    """A ResNet without any convolution larger than a cell."""

    def __init__(self, config: LRNetConfig) -> None:
        c = config

        def related(dim: int, stride: int) -> list[nn.Module]:
            layer = LocalRelation(dim, c.share, c.kernel_size, stride, c.similarity)
            return [layer, nn.BatchNorm2d(dim), nn.ReLU()]

        def block(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
            hidden = round(dim * c.ratio)
            branch = nn.Sequential(
                ConvNorm(conv(dim_in, hidden, 1), nn.ReLU()),
                *related(hidden, stride),
                ConvNorm(conv(hidden, dim, 1)),
            )
            return Residual(branch, shortcut(dim_in, dim, stride), drop_path)

        first = ConvNorm(conv(c.in_chans, c.stem_dim, 1), nn.ReLU())
        stem = Stem(c.in_chans, nn.Sequential(first, *related(c.stem_dim, 2)))
        super().__init__(config, block, stem)
