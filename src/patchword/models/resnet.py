"""ResNet: stages of residual blocks, each stage half the resolution of the one before.

Paper      He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385
Reference  torchvision's resnet.py; timm's has the same names, transformers' ResNet others
Departures a bottleneck takes its stride in the 3x3 convolution ("v1.5"), as all three do; the
           paper's takes it in the first 1x1. Stochastic depth (arXiv:1603.09382) can be asked for
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import Foldable, Residual, fused, ramp
from patchword.weights import Format, Rule, Rules, modules, within
from patchword.weights.configs import Kind
from patchword.weights.settings import Only, Same


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """What networks of four stages have in common."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns; any other works as well
    in_chans: int = 3  # channels of an image
    stem_dim: int = 64  # channels after the stem
    embed_dim: tuple[int, ...] = (256, 512, 1024, 2048)  # channels of each stage as it leaves
    depth: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage
    drop_path_rate: float = 0.0  # stochastic depth of the last block; it rises from 0


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(StagesConfig):
    """Table 1 of the paper."""

    block: Literal["basic", "bottleneck"] = "bottleneck"
    dilated: bool = False  # the last stage looks as far as it would, and keeps the resolution

    def build(self) -> "ResNet":
        """Make the backbone, with fresh weights."""
        network = ResNet(self, basic if self.block == "basic" else bottleneck)
        if self.dilated:
            dilate(network)
        return network


NARROW = (64, 128, 256, 512)

VARIANTS = {
    "resnet18": ResNetConfig(block="basic", embed_dim=NARROW, depth=(2, 2, 2, 2)),
    "resnet34": ResNetConfig(block="basic", embed_dim=NARROW),
    "resnet50": ResNetConfig(),
    "resnet101": ResNetConfig(depth=(3, 4, 23, 3)),
    "resnet152": ResNetConfig(depth=(3, 8, 36, 3)),
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


BLOCK = (
    *modules({"conv{#+1}": "branch.#.conv", "bn{#+1}": "branch.#.norm"}),
    *modules({"downsample.0": "shortcut.conv", "downsample.1": "shortcut.norm"}),
)
STEM = modules({"conv1": "stem.conv.conv", "bn1": "stem.conv.norm"})


def plain_format(name: str, block: Rules = BLOCK, stem: Rules = STEM) -> Format:
    """Return the names that torchvision gave and timm kept, of stages numbered from 1."""
    blocks = within("layer{#+1}.#", "stages.#.#", *block)
    return Format(name, *stem, *blocks, head=(Rule("fc.*", "head.label.*"),))


NAMED = modules({"convolution": "conv", "normalization": "norm"})

FORMATS = (
    plain_format("timm"),
    plain_format("torchvision"),
    Format(
        "transformers",
        *within("embedder.embedder", "stem.conv", *NAMED),
        *within("encoder.stages.#.layers.#.layer.#", "stages.#.#.branch.#", *NAMED),
        *within("encoder.stages.#.layers.#.shortcut", "stages.#.#.shortcut", *NAMED),
        head=(Rule("classifier.1.*", "head.label.*"),),
        root=("resnet.",),
    ),
)

CONFIGS = (
    Kind(
        "resnet",
        "ResNetForImageClassification",
        (
            Same("num_channels", "in_chans", 3),
            Same("embedding_size", "stem_dim"),
            Same("hidden_sizes", "embed_dim"),
            Same("depths", "depth"),
            Same("layer_type", "block", "bottleneck"),
            Only("hidden_act", "relu"),
            Only("downsample_in_first_stage", False),
            Only("downsample_in_bottleneck", False),
        ),
    ),
)


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of a map, but for its stride."""
    return nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, groups=groups, bias=False)


class ConvNorm(Foldable):
    """A convolution, batch norm, and perhaps an activation."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.act = act or nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Convolve, normalise, activate."""
        return self.act(self.norm(self.conv(x)))

    def fused(self) -> nn.Module:
        if type(self.conv) is not nn.Conv2d:  # of a kind of its own, with more than a kernel
            return self
        return nn.Sequential(fused(self.conv, self.norm), self.act)


MakeBlock = Callable[[int, int, int, float], nn.Module]
"""Makes a block from its channels in and out, its stride and its rate of stochastic depth."""


def shortcut(dim_in: int, dim: int, stride: int) -> nn.Module:
    """Return the identity, or a projection where the shape changes (option B of section 3.3)."""
    return nn.Identity() if (dim_in, stride) == (dim, 1) else ConvNorm(conv(dim_in, dim, 1, stride))


def basic(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return two 3x3 convolutions and a shortcut (figure 5, left)."""
    branch = nn.Sequential(
        ConvNorm(conv(dim_in, dim, 3, stride), nn.ReLU(inplace=True)), ConvNorm(conv(dim, dim, 3))
    )
    return Residual(branch, shortcut(dim_in, dim, stride), drop_path)


def bottleneck(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
    """Return a 3x3 convolution in a quarter of the channels, and a shortcut (figure 5, right)."""
    hidden = dim // 4
    branch = nn.Sequential(
        ConvNorm(conv(dim_in, hidden, 1), nn.ReLU(inplace=True)),
        ConvNorm(conv(hidden, hidden, 3, stride), nn.ReLU(inplace=True)),
        ConvNorm(conv(hidden, dim, 1)),
    )
    return Residual(branch, shortcut(dim_in, dim, stride), drop_path)


class Stem(nn.Module):
    """A convolution and a 3x3 maximum, of stride 2 each.

    Args:
        in_chans: channels of an image.
        conv: the convolution of stride 2, with its norm.
        pool: what halves the resolution again; a maximum if None.
    """

    def __init__(self, in_chans: int, conv: nn.Module, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.in_chans, self.conv = in_chans, conv
        self.pool = pool or nn.MaxPool2d(3, 2, padding=1)

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


def stages(
    dim_in: int,
    embed_dim: Sequence[int],
    depth: Sequence[int],
    block: MakeBlock,
    drop_path_rate: float = 0.0,
) -> nn.ModuleList:
    """Return sequences of blocks that leave with `embed_dim` channels each, `dim_in` before them.

    All but the first halve the resolution. Rates of stochastic depth rise over all blocks.
    """
    rates = iter(ramp(drop_path_rate, sum(depth)))
    made = nn.ModuleList()
    for i, (dim, count) in enumerate(zip(embed_dim, depth, strict=True)):
        blocks: list[nn.Module] = []
        for k in range(count):
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
        norm: what follows the last stage, where blocks do not end in a norm themselves.
    """

    def __init__(
        self,
        config: StagesConfig,
        block: MakeBlock,
        stem: nn.Module | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        c = self.config = config
        self.stem = stem or Stem(
            c.in_chans, ConvNorm(conv(c.in_chans, c.stem_dim, 7, 2), nn.ReLU(inplace=True))
        )
        self.stages = stages(c.stem_dim, c.embed_dim, c.depth, block, c.drop_path_rate)
        self.norm = norm or nn.Identity()
        levels = [Level(f"stages.{i}", dim, (4 << i, 4 << i)) for i, dim in enumerate(c.embed_dim)]
        self.levels = (*levels, Level("final", levels[-1].channels, levels[-1].stride))
        self.width = c.embed_dim[-1]
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


def dilate(network: ResNet) -> None:
    """Let the last stage keep its map's resolution, and spread its kernels over as many pixels.

    As in torchvision and in DETR-DC5, the first block's kernels stay as they are.
    """
    last = network.stages[-1]
    for number, block in enumerate(last.children()):
        for part in block.modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
                if number and part.kernel_size == (3, 3):
                    part.dilation = part.padding = (2, 2)
    stride = network.levels[-3].stride
    kept = [replace(level, stride=stride) for level in network.levels[-2:]]
    network.levels = (*network.levels[:-2], *kept)
