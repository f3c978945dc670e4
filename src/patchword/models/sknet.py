"""SKNet: residual networks whose units choose between two kernels, channel by channel.

Paper      Li et al., "Selective Kernel Networks", CVPR 2019, arXiv:1903.06586
Reference  timm's sknet.py with `SelectiveKernel`
Departures timm's: skresnet18, 34 and 50 give each kernel half of the channels to read (`split`),
           which the paper's network, skresnext50_32x4d, does not
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
    conv,
    plain_format,
    shortcut,
)
from patchword.weights import POINTWISE, Rule, modules, within


@dataclass(frozen=True, kw_only=True)
class SKNetConfig(ResNetConfig):
    """ResNet's settings, and those of the selective kernels (section 3.2)."""

    split: bool = True  # each kernel reads its half of the channels
    groups: int = 1  # of channels that a bottleneck's kernels do not mix
    expansion: int = 4  # a bottleneck's channels per channel inside
    reduction: int = 16  # a map's channels per channel of the squeezed one (r)
    least: int = 8  # channels of a squeezed map at least (L)

    def build(self) -> ResNet:
        """Make the backbone, with fresh weights."""
        return ResNet(self, partial(selective, self))


BASIC = SKNetConfig(block="basic", embed_dim=(64, 128, 256, 512), reduction=8, least=16)

VARIANTS = {
    "skresnet18": replace(BASIC, depth=(2, 2, 2, 2)),
    "skresnet34": BASIC,
    "skresnet50": SKNetConfig(),
    "skresnext50_32x4d": SKNetConfig(split=False, groups=32, expansion=2, least=32),
}

PREPROCESSING = Frame(
    image_size=(224, 224), crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)

FORMATS = (
    plain_format(
        "timm",
        (
            *within(
                "conv{#+1}",
                "branch.#",
                *modules({"conv": "conv", "bn": "norm", "attn.bn": "squeezed"}),
                *modules({"paths.#.conv": "paths.#.conv", "paths.#.bn": "paths.#.norm"}),
                Rule("attn.fc_reduce.weight", "reduce.weight", POINTWISE),
                Rule("attn.fc_select.weight", "select.weight", POINTWISE),
            ),
            *BLOCK[-2:],
        ),
    ),
)


class SelectiveKernel(nn.Module):
    """A 3x3 kernel and a dilated one that sees 5x5, each channel a mean of both (figure 1).

    Args:
        dim_in: channels read.
        dim: channels written.
        stride: of both convolutions.
        hidden: channels of the squeezed map.
        groups: of channels that do not mix.
        split: whether each kernel reads its half of the channels, or all.
    """

    def __init__(
        self, dim_in: int, dim: int, stride: int, hidden: int, *, groups: int = 1, split: bool
    ) -> None:
        super().__init__()
        self.read = dim_in // 2 if split else dim_in
        self.paths = nn.ModuleList(
            ConvNorm(
                nn.Conv2d(self.read, dim, 3, stride, dilation, dilation, groups, bias=False),
                nn.ReLU(inplace=True),
            )
            for dilation in (1, 2)
        )
        self.reduce, self.squeezed = nn.Linear(dim, hidden, bias=False), nn.BatchNorm1d(hidden)
        self.act, self.select = nn.ReLU(), nn.Linear(hidden, 2 * dim, bias=False)
        for layer in (self.reduce, self.select):  # as the convolutions that they are in other code
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Split, fuse, and select (section 3.1)."""
        near, far = (
            path(part)
            for path, part in zip(self.paths, (x[:, : self.read], x[:, -self.read :]), strict=True)
        )
        squeezed = self.act(self.squeezed(self.reduce((near + far).mean((2, 3)))))
        share = self.select(squeezed).unflatten(1, (2, -1)).softmax(1)[..., None, None]
        return near * share[:, 0] + far * share[:, 1]


def selective(
    config: SKNetConfig, dim_in: int, dim: int, stride: int, drop_path: float
) -> Residual:
    """Return a ResNet's block with the kernels in place of its first 3x3 convolution."""
    c = config
    plain = c.block == "basic"
    hidden = dim if plain else dim // c.expansion
    kernels = SelectiveKernel(
        dim_in if plain else hidden,
        hidden,
        stride,
        max(c.least, hidden // c.reduction),
        groups=c.groups,
        split=c.split,
    )
    if plain:
        branch = nn.Sequential(kernels, ConvNorm(conv(dim, dim, 3)))
    else:
        reduced = ConvNorm(conv(dim_in, hidden, 1), nn.ReLU(inplace=True))
        branch = nn.Sequential(reduced, kernels, ConvNorm(conv(hidden, dim, 1)))
    return Residual(branch, shortcut(dim_in, dim, stride), drop_path)
