"""BiT: ResNet-v2 with group norm and standardised kernels, made for large-scale pre-training.

Paper      Kolesnikov et al., "Big Transfer (BiT): General Visual Representation Learning", ECCV
           2020, arXiv:1912.11370; blocks from He et al. 2016, arXiv:1603.05027; standardisation
           from Qiao et al. 2019, arXiv:1903.10520
Reference  github.com/google-research/big_transfer, bit_pytorch/models.py; timm's resnetv2.py
Departures a kernel's variance is kept from 0 by 1e-8, as in timm and transformers (`std_eps`; the
           authors' PyTorch has 1e-10); kernels start as a ResNet's; stochastic depth on request
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import Foldable, GroupNorm, Piecewise, StochasticDepth
from patchword.models.resnet import ResNet, StagesConfig, Stem
from patchword.weights import POINTWISE, Format, Rule, View
from patchword.weights.configs import Kind
from patchword.weights.google import GOOGLE, KERNEL
from patchword.weights.settings import Only, Ours, Same

MANY = 512  # channels, beyond which maps are small


@dataclass(frozen=True, kw_only=True)
class BiTConfig(StagesConfig):
    """A ResNet's sizes; 'x3' in a name means three times its channels."""

    image_size: tuple[int, int] = (448, 448)
    std_eps: float = 1e-8  # added to a kernel's variance

    def build(self) -> "BiT":
        """Make the backbone, with fresh weights."""
        return BiT(self)


def wide(depth: tuple[int, ...], factor: int, side: int = 448) -> BiTConfig:
    """Return a network of so many times a ResNet's channels, for square images."""
    return BiTConfig(
        image_size=(side, side),
        stem_dim=64 * factor,
        embed_dim=tuple(256 * factor * 2**i for i in range(4)),
        depth=depth,
    )


VARIANTS = {
    "resnetv2_50x1_bit": wide((3, 4, 6, 3), 1),
    "resnetv2_50x3_bit": wide((3, 4, 6, 3), 3),
    "resnetv2_101x1_bit": wide((3, 4, 23, 3), 1),
    "resnetv2_101x3_bit": wide((3, 4, 23, 3), 3),
    "resnetv2_152x2_bit": wide((3, 8, 36, 3), 2),
    "resnetv2_152x4_bit": wide((3, 8, 36, 3), 4, side=480),
}

README = "README of big_transfer: BiT-M, fine-tuned with its code"
CLAIMS = {
    "resnetv2_50x1_bit": Claim(top1=80.68, source=README),
    "resnetv2_152x2_bit": Claim(top1=85.15, source=README),
}

PREPROCESSING = Frame(
    image_size=(448, 448),
    crop=1.0,
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)

UNIT = "resnet/block{#+1}/unit{#+1:02}"
POINT_KERNEL = View(lambda kernel: kernel[0, 0].mT, lambda matrix: matrix.mT[None, None])

FORMATS = (
    Format(
        "timm",
        Rule("stem.conv.weight", "stem.conv.weight"),
        Rule("stages.#.blocks.#.downsample.conv.weight", "stages.#.#.downsample.weight"),
        Rule("stages.#.blocks.#.norm#.*", "stages.#.#.gn#.*"),
        Rule("stages.#.blocks.#.conv#.weight", "stages.#.#.conv#.weight"),
        Rule("norm.*", "norm.*"),
        head=(
            Rule("head.fc.weight", "head.label.weight", POINTWISE),
            Rule("head.fc.bias", "head.label.bias"),
        ),
    ),
    Format(
        "transformers",
        Rule("embedder.convolution.weight", "stem.conv.weight"),
        Rule("encoder.stages.#.layers.#.downsample.conv.weight", "stages.#.#.downsample.weight"),
        Rule("encoder.stages.#.layers.#.norm#.*", "stages.#.#.gn#.*"),
        Rule("encoder.stages.#.layers.#.conv#.weight", "stages.#.#.conv#.weight"),
        Rule("norm.*", "norm.*"),
        head=(Rule("classifier.1.*", "head.label.*"),),
        root=("bit.",),
    ),
    Format(
        GOOGLE,
        Rule("resnet/root_block/standardized_conv2d/kernel", "stem.conv.weight", KERNEL),
        Rule(f"{UNIT}/a/proj/standardized_conv2d/kernel", "stages.#.#.downsample.weight", KERNEL),
        *(
            rule
            for i, part in enumerate("abc", 1)
            for rule in (
                Rule(
                    f"{UNIT}/{part}/standardized_conv2d/kernel",
                    f"stages.#.#.conv{i}.weight",
                    KERNEL,
                ),
                Rule(f"{UNIT}/{part}/group_norm/gamma", f"stages.#.#.gn{i}.weight"),
                Rule(f"{UNIT}/{part}/group_norm/beta", f"stages.#.#.gn{i}.bias"),
            )
        ),
        Rule("resnet/group_norm/gamma", "norm.weight"),
        Rule("resnet/group_norm/beta", "norm.bias"),
        head=(
            Rule("resnet/head/conv2d/kernel", "head.label.weight", POINT_KERNEL),
            Rule("resnet/head/conv2d/bias", "head.label.bias"),
        ),
        settings={"std_eps": 1e-10},
    ),
    Format(
        "authors",
        Rule("root.conv.weight", "stem.conv.weight"),
        Rule("body.block{#+1}.unit{#+1:02}.*", "stages.#.#.*"),
        Rule("head.gn.*", "norm.*"),
        head=(
            Rule("head.conv.weight", "head.label.weight", POINTWISE),
            Rule("head.conv.bias", "head.label.bias"),
        ),
        settings={"std_eps": 1e-10},
    ),
)

CONFIGS = (
    Kind(
        "bit",
        "BitForImageClassification",
        (
            Same("num_channels", "in_chans", 3),
            Same("embedding_size", "stem_dim"),
            Same("hidden_sizes", "embed_dim"),
            Same("depths", "depth"),
            Same("drop_path_rate", "drop_path_rate", 0.0),
            Ours("std_eps", 1e-8),
            Only("layer_type", "preactivation"),
            Only("hidden_act", "relu"),
            Only("global_padding", None),
            Only("num_groups", 32),
            Only("embedding_dynamic_padding", False),
            Only("output_stride", 32),
            Only("width_factor", 1),
        ),
    ),
)


class StdConv(Foldable, nn.Conv2d):
    """A convolution whose kernels, one per output channel, have mean 0 and variance 1.

    Args:
        dim_in: channels read.
        dim: channels written.
        kernel: its side in cells; padded to keep the map's size, but for the stride.
        stride: of the convolution.
        eps: added to the variance.
    """

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, *, eps: float = 1e-8
    ) -> None:
        super().__init__(dim_in, dim, kernel, stride, padding=kernel // 2, bias=False)
        self.eps = eps

    def standardised(self) -> Float[Tensor, "d c k k"]:
        """Return the kernels as they are used."""
        kernels = self.weight.flatten(1)[None]  # as the channels of one image: one pass, not three
        return F.batch_norm(kernels, None, None, training=True, eps=self.eps).view_as(self.weight)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Convolve a map with the standardised kernels."""
        return F.conv2d(input, self.standardised(), None, self.stride, self.padding)

    def fused(self) -> nn.Module:
        (side, _), (step, _) = self.kernel_size, self.stride
        dim_in, dim = self.in_channels, self.out_channels
        made = nn.Conv2d(dim_in, dim, side, step, bias=False, device="meta")
        made.padding = self.padding
        made.weight = nn.Parameter(self.standardised().detach())
        return made.train(self.training)


class NormReLU(GroupNorm):
    """Group norm over 32 groups of channels, then ReLU."""

    def __init__(self, dim: int) -> None:
        super().__init__(32, dim)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise and cut at 0."""
        return F.relu(super().forward(input), inplace=True)


class Preactivated(Piecewise):
    """A bottleneck with its norms before its convolutions (He et al. 2016, figure 4e).

    Where the shape changes, the shortcut is a projection of the normalised map.
    """

    def __init__(
        self, dim_in: int, dim: int, stride: int, drop_path: float, *, eps: float = 1e-8
    ) -> None:
        super().__init__()
        hidden = dim // 4
        self.gn1, self.conv1 = NormReLU(dim_in), StdConv(dim_in, hidden, 1, eps=eps)
        self.gn2, self.conv2 = NormReLU(hidden), StdConv(hidden, hidden, 3, stride, eps=eps)
        self.gn3, self.conv3 = NormReLU(hidden), StdConv(hidden, dim, 1, eps=eps)
        same = (dim_in, stride) == (dim, 1)
        self.downsample = None if same else StdConv(dim_in, dim, 1, stride, eps=eps)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Add what the branch makes of a map to the map."""
        active = self.gn1(x)
        shortcut = x if self.downsample is None else self.downsample(active)
        x = self.conv1(active)
        x = self.conv2(self.gn2(x))
        x = self.drop_path(self.conv3(self.gn3(x)))
        x += shortcut
        return x

    def held(self, x: Float[Tensor, "b c h w"]) -> int:
        return 2 * x.numel() if x.shape[1] <= MANY else 0


class ZeroPool(nn.Module):
    """The maximum of 3x3 cells at a stride of 2, with zeros around the map."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Halve a map's sides, rounded up; its cells may all lie below 0."""
        pooled = F.max_pool2d(x, 3, 2, padding=1)
        for axis in (2, 3):
            ends = (0, -1) if x.shape[axis] % 2 else (0,)  # at which cells meet the zeros
            for end in ends:
                pooled.select(axis, end).clamp_(min=0)
        return pooled


class BiT(ResNet):
    """A ResNet of standardised kernels: no norm in the stem, one after the last stage."""

    def __init__(self, config: BiTConfig) -> None:
        c = config
        conv = StdConv(c.in_chans, c.stem_dim, 7, 2, eps=c.std_eps)
        super().__init__(
            c,
            partial(Preactivated, eps=c.std_eps),
            Stem(c.in_chans, conv, ZeroPool()),
            NormReLU(c.embed_dim[-1]),
        )
        self.head_std = 0.0
