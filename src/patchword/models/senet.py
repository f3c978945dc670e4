"""SENet: residual networks whose blocks weigh their channels by what the whole map holds.

Paper      Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507
Reference  timm's resnet.py with `SEModule`
Departures timm's: a bottleneck takes its stride in the 3x3 convolution (the authors' in the first
           1x1), and at least 8 channels are left of a squeezed map
"""

from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.layers import Residual
from patchword.models.resnet import (
    BLOCK,
    ConvNorm,
    ResNet,
    ResNetConfig,
    basic,
    conv,
    plain_format,
    shortcut,
)
from patchword.weights import POINTWISE, Rule


@dataclass(frozen=True, kw_only=True)
class SENetConfig(ResNetConfig):
    """ResNet's settings, and those of ResNeXt's bottlenecks (Xie et al. 2017, arXiv:1611.05431)."""

    groups: int = 1  # of channels that the 3x3 convolution of a bottleneck does not mix
    expansion: int = 4  # a bottleneck's channels per channel of its 3x3 convolution
    reduction: int = 16  # a map's channels per channel of the squeezed one

    def build(self) -> ResNet:
        """Make the backbone, with fresh weights."""
        return ResNet(self, partial(excited, self))


BASIC = SENetConfig(block="basic", embed_dim=(64, 128, 256, 512))
NEXT = SENetConfig(groups=32, expansion=2)

VARIANTS = {
    "seresnet18": replace(BASIC, depth=(2, 2, 2, 2)),
    "seresnet34": BASIC,
    "seresnet50": SENetConfig(),
    "seresnet101": SENetConfig(depth=(3, 4, 23, 3)),
    "seresnet152": SENetConfig(depth=(3, 8, 36, 3)),
    "seresnext50_32x4d": NEXT,
    "seresnext101_32x4d": replace(NEXT, depth=(3, 4, 23, 3)),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.95, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FORMATS = (
    plain_format(
        "timm",
        (
            Rule("se.fc#.weight", "branch.se.fc#.weight", POINTWISE),
            Rule("se.fc#.bias", "branch.se.fc#.bias"),
            *BLOCK,
        ),
    ),
)


class SqueezeExcite(nn.Module):
    """A factor per channel, from the means of all channels (section 3)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act = nn.Linear(dim, hidden), nn.ReLU()
        self.fc2, self.gate = nn.Linear(hidden, dim), nn.Sigmoid()
        for layer in (self.fc1, self.fc2):  # as the convolutions that they are in other code
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Squeeze the map to its mean, and weigh its channels (equations 2 to 4)."""
        factors = self.gate(self.fc2(self.act(self.fc1(x.mean((2, 3))))))
        return x * factors[:, :, None, None]


def excited(config: SENetConfig, dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return a ResNet's block with the excitation at the end of its branch (figure 3)."""
    c = config
    if c.block == "basic":
        made = basic(dim_in, dim, stride, drop_path)
    else:
        hidden = dim // c.expansion
        branch = nn.Sequential(
            ConvNorm(conv(dim_in, hidden, 1), nn.ReLU(inplace=True)),
            ConvNorm(conv(hidden, hidden, 3, stride, groups=c.groups), nn.ReLU(inplace=True)),
            ConvNorm(conv(hidden, dim, 1)),
        )
        made = Residual(branch, shortcut(dim_in, dim, stride), drop_path)
    made.branch.add_module("se", SqueezeExcite(dim, max(8, dim // c.reduction)))
    return made
