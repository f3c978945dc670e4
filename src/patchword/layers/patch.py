"""From pixels to tokens."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ShapeError
from patchword.layers.grid import Grid, strided


class PatchEmbed(nn.Module):
    """Cut an image into squares and project each to a token.

    The weights are a strided convolution's, as in every checkpoint. What is computed is a matrix
    product over unfolded patches, which is the same and spares the convolution's layout changes.
    """

    def __init__(self, patch_size: int, in_chans: int, dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size, bias=bias)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on.

        Raises:
            ShapeError: a side is no multiple of the patch size, or the channels are others.
        """
        p = self.patch_size
        channels, rows, columns = images.shape[1:]
        fault, grid = strided((rows, columns), (p, p))
        if channels != self.proj.in_channels:
            fault = f"the images have {channels} channels; this model reads {self.proj.in_channels}"
        if fault:
            raise ShapeError(fault)
        cells = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # b c rows p columns p
        cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(cells, self.proj.weight.flatten(1), self.proj.bias), grid
