"""ResNeSt: residual networks whose 3x3 convolutions are split, and mixed by attention.

Paper      Zhang et al., "ResNeSt: Split-Attention Networks", 2020, arXiv:2004.08955
Reference  timm's resnest.py with `SplitAttn`; the authors' github.com/zhanghang1989/ResNeSt has the
           same names
Departures none
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.layers import Residual
from patchword.models.resnet import (
    ConvNorm,
    ResNet,
    StagesConfig,
    Stem,
    conv,
    plain_format,
)
from patchword.weights import Rule


@dataclass(frozen=True, kw_only=True)
class ResNeStConfig(StagesConfig):
    """What a name such as 4s2x40d says: radix s groups x base width, and a deep stem."""

    radix: int = 2  # splits of a group
    groups: int = 1  # cardinality
    base_width: int = 64  # channels of a group inside the first stage
    pool_first: bool = False  # pool before the split convolution that halves a map, not after

    def build(self) -> ResNet:
        """Make the backbone, with fresh weights."""
        return ResNet(self, partial(split, self), Stem(self.in_chans, deep(self)))


def large(depth: tuple[int, ...], side: int) -> ResNeStConfig:
    """Return a network with a wide stem, for square images of a side."""
    return ResNeStConfig(image_size=(side, side), stem_dim=128, depth=depth)


VARIANTS = {
    "resnest14d": ResNeStConfig(depth=(1, 1, 1, 1)),
    "resnest26d": ResNeStConfig(depth=(2, 2, 2, 2)),
    "resnest50d": ResNeStConfig(),
    "resnest101e": large((3, 4, 23, 3), 256),
    "resnest200e": large((3, 24, 36, 3), 320),
    "resnest269e": large((3, 30, 48, 8), 416),
    "resnest50d_4s2x40d": ResNeStConfig(radix=4, groups=2, base_width=40, pool_first=True),
    "resnest50d_1s4x24d": ResNeStConfig(radix=1, groups=4, base_width=24, pool_first=True),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = (
    plain_format(
        "timm",
        block=(
            Rule("conv1.*", "branch.reduce.conv.*"),
            Rule("bn1.*", "branch.reduce.norm.*"),
            Rule("conv2.*", "branch.split.*"),
            Rule("conv3.*", "branch.expand.conv.*"),
            Rule("bn3.*", "branch.expand.norm.*"),
            Rule("downsample.1.*", "shortcut.1.conv.*"),
            Rule("downsample.2.*", "shortcut.1.norm.*"),
        ),
        stem=(
            Rule("conv1.0.*", "stem.conv.0.conv.*"),
            Rule("conv1.1.*", "stem.conv.0.norm.*"),
            Rule("conv1.3.*", "stem.conv.1.conv.*"),
            Rule("conv1.4.*", "stem.conv.1.norm.*"),
            Rule("conv1.6.*", "stem.conv.2.conv.*"),
            Rule("bn1.*", "stem.conv.2.norm.*"),
        ),
    ),
)


def deep(config: ResNeStConfig) -> nn.Module:
    """Return three 3x3 convolutions in place of the stem's 7x7 one."""
    c = config
    half = c.stem_dim // 2
    return nn.Sequential(
        ConvNorm(conv(c.in_chans, half, 3, 2), nn.ReLU(inplace=True)),
        ConvNorm(conv(half, half, 3), nn.ReLU(inplace=True)),
        ConvNorm(conv(half, c.stem_dim, 3), nn.ReLU(inplace=True)),
    )


class SplitAttention(nn.Module):
    """A convolution to `radix` maps, and the mean of them that their sum asks for (figure 2)."""

    def __init__(self, dim: int, radix: int, groups: int) -> None:
        super().__init__()
        self.radix, self.groups = radix, groups
        wide, hidden = dim * radix, max(32, (dim * radix // 4 + 4) // 8 * 8)
        self.conv = conv(dim, wide, 3, groups=groups * radix)
        self.bn0, self.act0 = nn.BatchNorm2d(wide), nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(dim, hidden, 1, groups=groups)
        self.bn1, self.act1 = nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(hidden, wide, 1, groups=groups)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Weigh the splits by an r-softmax per group and channel (section 3.1, equations 1, 2)."""
        splits = self.act0(self.bn0(self.conv(x))).unflatten(1, (self.radix, -1))
        pooled = splits.sum(1).mean((2, 3), keepdim=True)
        scores = self.fc2(self.act1(self.bn1(self.fc1(pooled)))).flatten(1)
        if self.radix == 1:
            return splits[:, 0] * scores.sigmoid()[:, :, None, None]
        scores = scores.unflatten(1, (self.groups, self.radix, -1)).softmax(2)
        shares = scores.transpose(1, 2).flatten(2)
        return (splits * shares[..., None, None]).sum(1)


def split(config: ResNeStConfig, dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return a bottleneck around the split convolution; pooling halves maps, not strides."""
    c = config
    hidden = dim // 4 * c.base_width // 64 * c.groups
    parts: dict[str, nn.Module] = {
        "reduce": ConvNorm(conv(dim_in, hidden, 1), nn.ReLU(inplace=True)),
        "split": SplitAttention(hidden, c.radix, c.groups),
        "expand": ConvNorm(conv(hidden, dim, 1)),
    }
    order = ["reduce", "split", "expand"]
    if stride > 1:
        parts["pool"] = nn.AvgPool2d(3, stride, padding=1)
        order.insert(1 if c.pool_first else 2, "pool")
    branch = nn.Sequential(OrderedDict((name, parts[name]) for name in order))
    if (dim_in, stride) == (dim, 1):
        return Residual(branch, nn.Identity(), drop_path)
    even = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    pool = even if stride > 1 else nn.Identity()
    return Residual(branch, nn.Sequential(pool, ConvNorm(conv(dim_in, dim, 1))), drop_path)
