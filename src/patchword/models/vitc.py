"""ViT_C: a ViT whose patches are cut by a few small convolutions.

Paper      Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021,
           arXiv:2106.14881
Reference  torchvision's VisionTransformer with `conv_stem_configs`
Departures the sizes are ours, for small pictures, and so are the forms with DeiT's two tokens;
           where a side is no multiple of the stride, the last cell of a row or column sees the
           edge's padding
"""

from dataclasses import dataclass, replace
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.layers import Grid, to_tokens
from patchword.models.vit import ViT, ViTConfig
from patchword.weights import Rule
from patchword.weights.plain import torchvision_format


@dataclass(frozen=True, kw_only=True)
class ViTCConfig(ViTConfig):
    """ViT's settings; `patch_size` is the product of the convolutions' strides."""

    channels: tuple[int, ...] = (24, 48, 96, 192)  # of the 3x3 convolutions
    strides: tuple[int, ...] = (2, 2, 2, 2)

    def build(self) -> ViT:
        """Make the backbone, with fresh weights."""
        return ViT(self, ConvStem(self))


MINI = ViTCConfig(
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    prefix=(),
    pool="mean",
    channels=(32, 64, 128),
    strides=(2, 2, 2),
)


DISTILLED = replace(MINI, prefix=("class", "distillation"), pool="token")


def sized(config: ViTCConfig, side: int) -> ViTCConfig:
    """Return the same network for square images of another side, in pixels."""
    return replace(config, image_size=(side, side))


VARIANTS = {
    "vitc_mini_28": sized(MINI, 28),
    "vitc_mini_32": sized(MINI, 32),
    "vitc_mini_64": sized(MINI, 64),
    "vitc_mini_distilled_28": sized(DISTILLED, 28),
    "vitc_mini_distilled_32": sized(DISTILLED, 32),
    "vitc_mini_distilled_64": sized(DISTILLED, 64),
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

FORMATS = (
    torchvision_format(
        Rule("conv_proj.conv_bn_relu_#.0.*", "stem.patch_embed.convs.#.0.*"),
        Rule("conv_proj.conv_bn_relu_#.1.*", "stem.patch_embed.convs.#.1.*"),
        Rule("conv_proj.conv_last.*", "stem.patch_embed.proj.*"),
    ),
)


class ConvStem(nn.Module):
    """3x3 convolutions with batch norm and ReLU, then a 1x1 one (section 4)."""

    def __init__(self, config: ViTCConfig) -> None:
        super().__init__()
        if prod(config.strides) != config.patch_size:
            raise ShapeError(
                f"the strides {config.strides} make patches of {prod(config.strides)} pixels, "
                f"not of {config.patch_size}: set patch_size to their product"
            )
        self.in_chans = config.in_chans
        widths = (config.in_chans, *config.channels)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(wide, widths[i + 1], 3, config.strides[i], padding=1, bias=False),
                nn.BatchNorm2d(widths[i + 1]),
                nn.ReLU(),
            )
            for i, wide in enumerate(widths[:-1])
        )
        self.proj = nn.Conv2d(widths[-1], config.embed_dim, 1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens, row by row, and the grid they lie on.

        Raises:
            ShapeError: the images have another number of channels.
        """
        if images.shape[1] != self.in_chans:
            raise ShapeError(
                f"the images have {images.shape[1]} channels; this model reads {self.in_chans}"
            )
        x = images
        for conv in self.convs:
            x = conv(x)
        x = self.proj(x)
        return to_tokens(x), (x.shape[2], x.shape[3])
