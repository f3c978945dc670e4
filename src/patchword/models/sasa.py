"""SASA: ResNets whose convolutions over space are attention over a small window.

Paper      Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019,
           arXiv:1906.05909
Reference  the paper, its appendix A.1 for the attention stem; no code and no weights were published
Departures where the paper is silent: windows end at the border of the map; queries, keys and
           values are projected from all channels, as its counts of parameters imply; the stem
           mixes 4 matrices of values (their number is not told, nor told by the counts); codes of
           position start normal, of deviation 0.02
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.layers import (
    Attend,
    Layout,
    LocalOperator,
    Mixer,
    Residual,
    admit,
    parted,
    strided,
    to_windows,
)
from patchword.models.resnet import ConvNorm, ResNet, StagesConfig, conv, shortcut


@dataclass(frozen=True, kw_only=True)
class SASAConfig(StagesConfig):
    """Section 4.1 of the paper: a ResNet, attention in place of its 3x3 convolutions."""

    num_heads: int = 8
    kernel_size: int = 7  # cells along a side of the window, odd
    stem: Literal["attention", "convolution"] = "attention"
    stem_heads: int = 4  # of the attention stem
    stem_mixtures: int = 4  # matrices of values in it

    def build(self) -> "SASA":
        """Make the backbone, with fresh weights."""
        return SASA(self)


def conv_stem(config: SASAConfig) -> SASAConfig:
    """Return the same network with ResNet's stem: more accurate, but at 50 layers."""
    return replace(config, stem="convolution")


R26 = SASAConfig(depth=(1, 2, 4, 1))
R38 = SASAConfig(depth=(2, 3, 5, 2))
R50 = SASAConfig(depth=(3, 4, 6, 3))

VARIANTS = {
    "sasa_resnet26": R26,
    "sasa_resnet38": R38,
    "sasa_resnet50": R50,
    "sasa_resnet26_conv_stem": conv_stem(R26),
    "sasa_resnet38_conv_stem": conv_stem(R38),
    "sasa_resnet50_conv_stem": conv_stem(R50),
}

CLAIMS = {  # table 1, which counts a multiplication and an addition as two
    "sasa_resnet26": Claim(params=10.3, macs=2.35, top1=74.8),
    "sasa_resnet38": Claim(params=14.1, macs=3.0, top1=76.9),
    "sasa_resnet50": Claim(params=18.0, macs=3.6, top1=77.6),
    "sasa_resnet26_conv_stem": Claim(params=10.3, macs=2.25, top1=75.8),
    "sasa_resnet38_conv_stem": Claim(params=14.1, macs=2.85, top1=77.1),
    "sasa_resnet50_conv_stem": Claim(params=18.0, macs=3.5, top1=77.4),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = ()  # nobody has weights of it


class Relative(LocalOperator):
    """softmax(q k' + q r') over a window, r the code of an offset (equation 3)."""

    def __init__(self, dim: int, heads: int, kernel_size: int) -> None:
        super().__init__(kernel_size, "zero")
        shape = (heads, dim // heads // 2, kernel_size)  # half of the channels for each axis
        self.rows, self.columns = (nn.Parameter(0.02 * torch.randn(shape)) for _ in range(2))

    def shares(
        self, q: Float[Tensor, "b c rows columns"], k: Float[Tensor, "b c rows columns"]
    ) -> Float[Tensor, "b heads window rows columns"]:
        """Softmax over those cells of the window that are on the map."""
        heads = len(self.rows)
        products = [(q * key).unflatten(1, (heads, -1)).sum(2) for key in self.around(k)]
        half = q.unflatten(1, (heads, 2, -1)).unbind(2)
        down, across = (
            torch.einsum("bhcxy,hck->bhkxy", part, codes)
            for part, codes in zip(half, (self.rows, self.columns), strict=True)
        )
        scores = torch.stack(products, 2) + (down[:, :, :, None] + across[:, :, None]).flatten(2, 3)
        inside = torch.stack(self.around(torch.ones_like(q[:1, :1])), 2)
        return scores.masked_fill(inside == 0, -torch.inf).softmax(2)


class LocalAttention(nn.Module):
    """Multi-head attention of each cell over its window, in place of a 3x3 convolution."""

    def __init__(self, dim: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.attend = Relative(dim, heads, kernel_size)

    def forward(self, x: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b c rows columns"]:
        """Mix each window."""
        q, k, v = self.qkv(x).chunk(3, 1)
        mixed = self.attend(q, k, v.flatten(2).unflatten(1, (self.heads, -1)).mT)
        return mixed.mT.flatten(1, 2).unflatten(2, x.shape[2:])


class AttentionStem(Mixer):
    """Attention within blocks of 4 x 4 pixels, batch norm, and each block's maximum (section 3.2).

    Pixels hold little content, so values are made by a mixture of matrices that depends on where
    in the block a pixel is.

    Args:
        in_chans: channels of an image.
        dim: channels of the map.
        heads: of the attention.
        mixtures: matrices to mix.
    """

    side = 4

    def __init__(self, in_chans: int, dim: int, heads: int, mixtures: int) -> None:
        super().__init__()
        self.heads = heads
        self.qk = nn.Linear(in_chans, 2 * dim, bias=False)
        self.values = nn.Parameter(torch.randn(mixtures, dim, in_chans) * (2 / dim) ** 0.5)
        self.rows, self.columns = (
            nn.Parameter(0.02 * torch.randn(self.side, dim)) for _ in range(2)
        )
        self.mixtures = nn.Parameter(0.02 * torch.randn(mixtures, dim))
        self.attend = Attend()
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """Return a map at a quarter of the resolution.

        Raises:
            ShapeError: a side is no multiple of 4, or the channels are others.
        """
        admit(images, self.qk.in_features)
        window = (self.side, self.side)
        fault, grid = strided(tuple(images.shape[2:]), window)
        if fault:
            raise ShapeError(fault)
        x = to_windows(images.permute(0, 2, 3, 1), window)  # b blocks pixels c
        place = (self.rows[:, None] + self.columns).flatten(0, 1)
        shares = (place @ self.mixtures.T).softmax(1)
        matrices = torch.einsum("pm,mdc->pcd", shares, self.values)
        v = torch.einsum("bnpc,pcd->bnpd", x, matrices)
        q, k, v = (self.fold(t) for t in (*self.qk(x).chunk(2, -1), v))
        mixed = self.attend(q * q.shape[-1] ** 0.5, k, v)  # the paper's scores have no scale
        mixed = mixed.unflatten(1, (-1, self.heads)).transpose(2, 3).flatten(3)
        largest = self.norm(mixed.permute(0, 3, 1, 2)).max(dim=3).values  # of each block's pixels
        return largest.unflatten(2, grid)

    def layout(self, images: Tensor) -> Layout:
        """Return where the pixels of each block lie."""
        grid = (images.shape[2], images.shape[3])
        pixels = to_windows(torch.arange(prod(grid)).view(1, *grid, 1), (self.side, self.side))
        return parted(pixels[0, :, :, 0], grid)

    def fold(self, x: Float[Tensor, "b n p d"]) -> Float[Tensor, "b m p c"]:
        """Lay the heads beside the blocks."""
        return x.unflatten(3, (self.heads, -1)).transpose(2, 3).flatten(1, 2)


class SASA(ResNet):
    """A ResNet without any convolution larger than a cell, but perhaps in its stem."""

    def __init__(self, config: SASAConfig) -> None:
        c = config

        def block(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
            hidden = dim // 4
            branch = nn.Sequential(
                ConvNorm(conv(dim_in, hidden, 1), nn.ReLU()),
                LocalAttention(hidden, c.num_heads, c.kernel_size),
                nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity(),
                nn.BatchNorm2d(hidden),
                nn.ReLU(),
                ConvNorm(conv(hidden, dim, 1)),
            )
            return Residual(branch, shortcut(dim_in, dim, stride), drop_path)

        stem = None
        if c.stem == "attention":
            stem = AttentionStem(c.in_chans, c.stem_dim, c.stem_heads, c.stem_mixtures)
        super().__init__(config, block, stem)
        self.multiple = 1 if stem is None else stem.side
