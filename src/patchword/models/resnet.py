"""ResNet: stages of residual blocks, each stage half the resolution of the one before.

Paper      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385
Reference  torchvision's resnet.py; timm's has the same names, transformers' ResNet others
Departures a bottleneck takes its stride in the 3x3 convolution ("v1.5"), as all three do; the
           paper's takes it in the first 1x1. Stochastic depth (arXiv:1603.09382) can be asked for
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import StochasticDepth, ramp
from patchword.weights import Format, Rule


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Table 1 of the paper."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; any other works as well
    in_chans: int = 3  # channels of an image
    stem_dim: int = 64  # channels after the stem
    embed_dim: tuple[int, ...] = (64, 128, 256, 512)  # channels of each stage as it leaves
    depth: tuple[int, ...] = (2, 2, 2, 2)  # blocks of each stage
    block: Literal["basic", "bottleneck"] = "basic"
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0

    def build(self) -> "ResNet":
        """Make the backbone, with fresh weights."""
        return ResNet(self, basic if self.block == "basic" else bottleneck)


WIDE = (256, 512, 1024, 2048)

VARIANTS = {
    "resnet18": ResNetConfig(),
    "resnet34": ResNetConfig(depth=(3, 4, 6, 3)),
    "resnet50": ResNetConfig(depth=(3, 4, 6, 3), block="bottleneck", embed_dim=WIDE),
    "resnet101": ResNetConfig(depth=(3, 4, 23, 3), block="bottleneck", embed_dim=WIDE),
    "resnet152": ResNetConfig(depth=(3, 8, 36, 3), block="bottleneck", embed_dim=WIDE),
}

TORCHVISION = "torchvision, weights IMAGENET1K_V1"
CLAIMS = {
    "resnet18": Claim(params=11.69, macs=1.81, top1=69.76, source=TORCHVISION),
    "resnet34": Claim(params=21.80, macs=3.66, top1=73.31, source=TORCHVISION),
    "resnet50": Claim(params=25.56, macs=4.09, top1=76.13, source=TORCHVISION),
    "resnet101": Claim(params=44.55, macs=7.80, top1=77.37, source=TORCHVISION),
    "resnet152": Claim(params=60.19, macs=11.51, top1=78.31, source=TORCHVISION),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def plain_format(name: str) -> Format:
    """Return the names that torchvision gave and timm kept; they number the stages from 1."""
    parts = {
        **{f"conv{i + 1}": f"branch.{i}.conv" for i in range(3)},
        **{f"bn{i + 1}": f"branch.{i}.norm" for i in range(3)},
        "downsample.0": "shortcut.conv",
        "downsample.1": "shortcut.norm",
    }
    return Format(
        name,
        Rule("conv1.*", "stem.conv.conv.*"),
        Rule("bn1.*", "stem.conv.norm.*"),
        *(
            Rule(f"layer{i + 1}.#.{theirs}.*", f"stages.{i}.#.{ours}.*")
            for i in range(4)
            for theirs, ours in parts.items()
        ),
        head=(Rule("fc.*", "head.label.*"),),
    )


FORMATS = (
    plain_format("timm"),
    plain_format("torchvision"),
    Format(
        "transformers",
        Rule("embedder.embedder.convolution.*", "stem.conv.conv.*"),
        Rule("embedder.embedder.normalization.*", "stem.conv.norm.*"),
        Rule("encoder.stages.#.layers.#.layer.#.convolution.*", "stages.#.#.branch.#.conv.*"),
        Rule("encoder.stages.#.layers.#.layer.#.normalization.*", "stages.#.#.branch.#.norm.*"),
        Rule("encoder.stages.#.layers.#.shortcut.convolution.*", "stages.#.#.shortcut.conv.*"),
        Rule("encoder.stages.#.layers.#.shortcut.normalization.*", "stages.#.#.shortcut.norm.*"),
        head=(Rule("classifier.1.*", "head.label.*"),),
        root=("resnet.",),
    ),
)


class ConvNorm(nn.Module):
    """A convolution, batch norm, and what follows them: nothing, or ReLU.

    Args:
        dim_in: channels read.
        dim: channels written.
        kernel: its side in cells; padded to keep the map's size, but for the stride.
        stride: of the convolution.
        groups: of channels that do not mix.
        act: what follows.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            dim_in, dim, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(dim)
        self.act = act or nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Convolve, normalise, activate."""
        return self.act(self.norm(self.conv(x)))


def relu() -> nn.Module:
    """Return a ReLU that overwrites what it reads, as nothing else needs that."""
    return nn.ReLU(inplace=True)


class Residual(nn.Module):
    """relu(shortcut(x) + branch(x)), section 3.2, equations 1 and 2.

    The networks of this kind differ in their branch, which they hand over.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, drop_path: float = 0.0) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Add what the branch makes of a map to the map."""
        return F.relu(self.shortcut(x) + self.drop_path(self.branch(x)), inplace=True)


MakeBlock = Callable[[int, int, int, float], nn.Module]
"""Makes a block from its channels in and out, its stride and its rate of stochastic depth."""


def shortcut(dim_in: int, dim: int, stride: int) -> nn.Module:
    """Return the identity, or a projection where the shape changes (option B of section 3.3)."""
    return nn.Identity() if (dim_in, stride) == (dim, 1) else ConvNorm(dim_in, dim, 1, stride)


def basic(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return two 3x3 convolutions and a shortcut (figure 5, left)."""
    branch = nn.Sequential(
        ConvNorm(dim_in, dim, 3, stride, act=relu()),
        ConvNorm(dim, dim, 3),
    )
    return Residual(branch, shortcut(dim_in, dim, stride), drop_path)


def bottleneck(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return a 3x3 convolution in a quarter of the channels, and a shortcut (figure 5, right)."""
    hidden = dim // 4
    branch = nn.Sequential(
        ConvNorm(dim_in, hidden, 1, act=relu()),
        ConvNorm(hidden, hidden, 3, stride, act=relu()),
        ConvNorm(hidden, dim, 1),
    )
    return Residual(branch, shortcut(dim_in, dim, stride), drop_path)


class Stem(nn.Module):
    """A 7x7 convolution and a 3x3 maximum, of stride 2 each.

    Args:
        in_chans: channels of an image.
        dim: channels written.
        conv: what stands in for the convolution and its norm, of stride 2.
    """

    def __init__(self, in_chans: int, dim: int, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.conv = conv or ConvNorm(in_chans, dim, 7, 2, act=relu())
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Return a map at a quarter of the resolution.

        Raises:
            ShapeError: the images have another number of channels.
        """
        if images.shape[1] != self.in_chans:
            raise ShapeError(
                f"the images have {images.shape[1]} channels; this model reads {self.in_chans}"
            )
        return self.pool(self.conv(images))


def stages(config: ResNetConfig, block: MakeBlock) -> nn.ModuleList:
    """Return the stages, each a sequence of blocks; all but the first halve the resolution."""
    rates = iter(ramp(config.drop_path_rate, sum(config.depth)))
    made, dim_in = nn.ModuleList(), config.stem_dim
    for i, (dim, depth) in enumerate(zip(config.embed_dim, config.depth, strict=True)):
        blocks: list[nn.Module] = []
        for k in range(depth):
            blocks.append(block(dim_in, dim, 2 if i and not k else 1, next(rates)))
            dim_in = dim
        made.append(nn.Sequential(*blocks))
    return made


def he(module: nn.Module) -> None:
    """Kernels normal, of variance 2 / fan-out (He et al. 2015, arXiv:1502.01852)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(Backbone):
    """A stem, stages of residual blocks, and the mean over the last map.

    Args:
        config: the sizes.
        block: makes a block.
        stem: images to a map of `stem_dim` channels at a quarter of the resolution.
    """

    def __init__(
        self, config: ResNetConfig, block: MakeBlock, stem: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.stem = stem or Stem(config.in_chans, config.stem_dim)
        self.stages = stages(config, block)
        self.norm = nn.Identity()
        places = enumerate(config.embed_dim)
        levels = [Level(f"stages.{i}", dim, (4 * 2**i, 4 * 2**i)) for i, dim in places]
        self.levels = (*levels, Level("final", levels[-1].channels, levels[-1].stride))
        self.width = config.embed_dim[-1]
        self.head_std = (3 * self.width) ** -0.5  # of torch's own start
        self.apply(he)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, or `final`."""
        trace = Trace(self, taps)
        x = self.stem(images)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            trace.map(f"stages.{i}", x)
        x = self.norm(x)
        trace.map("final", x)
        return trace.features(x.mean((2, 3)))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks of all stages, and the last norm."""
        blocks = [block for stage in self.stages for block in stage.children()]
        return [self.stem, *blocks, self.norm]
