"""From pixels to tokens."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ShapeError
from patchword.layers.grid import Grid, admit, strided, to_tokens
from patchword.layers.position import Position
from patchword.layers.token import ClassToken


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
        admit(images, self.proj.in_channels)
        fault, grid = strided(tuple(images.shape[2:]), (p, p))
        if fault:
            raise ShapeError(fault)
        cells = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # b c rows p columns p
        cells = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(cells, self.proj.weight.flatten(1), self.proj.bias), grid


class ConvEmbed(nn.Module):
    """Patches that overlap, of an image or of the map before: a strided convolution, then a norm.

    Args:
        in_chans: channels of what is read.
        dim: channels of a token.
        kernel: side of a patch.
        stride: from patch to patch.
        padding: zeros around what is read.
        bias: of the convolution.
        eps: of the norm.
    """

    def __init__(
        self,
        in_chans: int,
        dim: int,
        kernel: int,
        stride: int,
        padding: int,
        *,
        bias: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel, stride, padding, bias=bias)
        self.norm = nn.LayerNorm(dim, eps)

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on."""
        x = self.proj(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class PatchStem(nn.Module):
    """Patches with their positions (ViT, equation 1), where they have such, after a class token.

    Args:
        patch_embed: makes tokens of images, and says on which grid they lie.
        position: of the patches, or of all tokens.
        class_token: stands before the patches.
        drop: dropout of what leaves.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        position: Position | None = None,
        class_token: ClassToken | None = None,
        *,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed, self.position = patch_embed, position
        self.class_token = class_token
        self.drop = nn.Dropout(drop)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, the patches row by row, and the patches' grid."""
        x, grid = self.patch_embed(images)
        if self.class_token is not None:
            x = self.class_token(x)
        return self.drop(x if self.position is None else x + self.position(grid)), grid
