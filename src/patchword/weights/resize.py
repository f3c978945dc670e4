"""Kernels for patches of another size and for images of other channels."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

PatchResample = Literal["pseudoinverse", "bilinear"]
"""How a kernel is read at another patch size: so that a resized patch projects to the same token
as nearly as can be (FlexiViT, Beyer et al. 2023, arXiv:2212.08013, equation 3; bicubic with
smoothing, as in timm), or between its numbers, as a picture."""


def resized(
    kernel: Float[Tensor, "o i h w"], size: tuple[int, int], how: PatchResample
) -> Float[Tensor, "o i H W"]:
    """Return a kernel for patches of another size."""
    if tuple(kernel.shape[2:]) == size:
        return kernel
    if how == "bilinear":
        return F.interpolate(kernel, size, mode="bilinear")
    rows, columns = kernel.shape[2:]
    basis = torch.eye(rows * columns, dtype=torch.float64).unflatten(1, (1, rows, columns))
    grown = F.interpolate(basis, size, mode="bicubic", antialias=True).flatten(1)
    back = torch.linalg.pinv(grown)  # new cells, old cells
    found = kernel.flatten(2).double() @ back.T
    return found.to(kernel.dtype).unflatten(2, size)


def recoloured(kernel: Float[Tensor, "o i h w"], channels: int) -> Float[Tensor, "o c h w"]:
    """Return a kernel for images of other channels, as timm does.

    For grey images the channels are added up, which answers as to a grey picture in colours. For
    others they are repeated in turn, and scaled so that an even picture answers as before.
    """
    before = kernel.shape[1]
    if channels == before:
        return kernel
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    turns = -(-channels // before)
    return kernel.repeat(1, turns, 1, 1)[:, :channels] * (before / channels)
