"""Axial-ResNet: attention along columns, then along rows, with learned codes of relative position.

Paper      Wang et al., "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation",
           ECCV 2020, arXiv:2003.07853
Reference  github.com/csrhddlam/axial-deeplab, lib/models/axialnet.py
Departures images need not be square; a fresh head is normal with zero biases, of the deviation of
           the authors' uniform one; the networks below Axial-DeepLab and MaX-DeepLab, which are in
           github.com/google-research/deeplab2, stride by means as those of this reference do
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Features, stage_levels
from patchword.layers import AxialAttention, Grid, Residual, relative_index, strided
from patchword.models.resnet import (
    ConvNorm,
    ResNet,
    StagesConfig,
    Stem,
    bottleneck,
    conv,
    shortcut,
)
from patchword.weights import Format, Rule, View, modules, within


@dataclass(frozen=True, kw_only=True)
class AxialConfig(StagesConfig):
    """Section 4.1 of the paper; a ResNet whose 3x3 convolutions became attention."""

    stem_dim: int = 32
    embed_dim: tuple[int, ...] = (128, 256, 512, 1024)
    depth: tuple[int, ...] = (1, 2, 4, 1)
    num_heads: int = 8
    since: int = 0  # the first stage that attends; those before it convolve
    output_stride: int = 32  # pixels of a cell that no stage goes beyond
    deep_stem: bool = False  # three convolutions, and no maximum: the first block halves the map

    @property
    def strides(self) -> list[int]:
        """Pixels of the side of a cell that each stage leaves."""
        return [min(4 << stage, self.output_stride) for stage in range(len(self.depth))]

    def build(self) -> "AxialResNet":
        """Make the backbone, with fresh weights."""
        return AxialResNet(self)


DEPTH50 = (3, 4, 6, 3)

VARIANTS = {
    "axial26s": AxialConfig(),
    "axial50s": AxialConfig(depth=DEPTH50),
    "axial50m": AxialConfig(depth=DEPTH50, stem_dim=48, embed_dim=(192, 384, 768, 1536)),
    "axial50l": AxialConfig(depth=DEPTH50, stem_dim=64, embed_dim=(256, 512, 1024, 2048)),
}

CLAIMS = {"axial26s": Claim(top1=75.8, source="README")}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def plan(config: AxialConfig) -> list[tuple[int, Grid, int]]:
    """Return of each block its stage, the grid that it reads, and its stride."""
    found, held = list[tuple[int, Grid, int]](), 2 if config.deep_stem else 4
    rows, columns = config.image_size
    for stage, (depth, leaves) in enumerate(zip(config.depth, config.strides, strict=True)):
        for _ in range(depth):
            found.append((stage, (rows // held, columns // held), leaves // held))
            held = leaves
    return found


def indices(config: AxialConfig) -> dict[str, Tensor]:
    """Return the tables of offsets that the authors keep beside the weights."""
    left = iter(plan(config))
    return {
        f"layer{stage + 1}.{block}.{axis}_block.flatten_index": relative_index((span,)).flatten()
        for stage, depth in enumerate(config.depth)
        for block in range(depth)
        for axis, span in zip(("hight", "width"), next(left)[1], strict=True)
        if stage >= config.since
    }


LINE = View(lambda kernel: kernel[..., None], lambda kernel: kernel[..., 0])
"""Their convolution has one axis, ours two."""

AXIS = (
    Rule("qkv_transform.*", "qkv.*", LINE),
    Rule("relative", "attend.codes.table"),
    *modules({"bn_qkv": "norm_qkv", "bn_similarity": "attend.norm", "bn_output": "norm"}),
)

FORMATS = (
    Format(
        "authors",
        Rule("conv1.*", "stem.conv.conv.*"),
        Rule("bn1.*", "stem.conv.norm.*"),
        *within(
            "layer{#+1}.#",
            "stages.#.#",
            *within("hight_block", "branch.height", *AXIS),
            *within("width_block", "branch.width", *AXIS),
            *modules({"conv_down": "branch.down.conv", "bn1": "branch.down.norm"}),
            *modules({"conv_up": "branch.up.conv", "bn2": "branch.up.norm"}),
            *modules({"downsample.0": "shortcut.conv", "downsample.1": "shortcut.norm"}),
        ),
        head=(Rule("fc.*", "head.label.*"),),
        ignore=("layer#.#.hight_block.flatten_index", "layer#.#.width_block.flatten_index"),
        derived=indices,
    ),
)


class AxialBranch(nn.Module):
    """Fewer channels, attention along columns and along rows, and the channels of the output."""

    def __init__(self, dim_in: int, dim: int, stride: int, heads: int, grid: Grid) -> None:
        super().__init__()
        hidden, (rows, columns) = dim // 2, grid
        self.down = ConvNorm(conv(dim_in, hidden, 1), nn.ReLU())
        self.height = AxialAttention(hidden, hidden, heads, rows, across=False)
        self.width = AxialAttention(hidden, hidden, heads, columns, across=True)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.up = ConvNorm(conv(hidden, dim, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """Let each cell see its column, and through it the whole map."""
        return self.up(self.pool(self.width(self.height(self.down(x)))).relu())


def deep_stem(config: AxialConfig) -> Stem:
    """Return three convolutions, of which the first halves the map."""
    dims = (config.in_chans, config.stem_dim // 2, config.stem_dim // 2, config.stem_dim)
    convs = (
        ConvNorm(conv(dim_in, dim, 3, 1 if i else 2), nn.ReLU(inplace=True))
        for i, (dim_in, dim) in enumerate(pairwise(dims))
    )
    return Stem(config.in_chans, nn.Sequential(*convs), nn.Identity())


class AxialResNet(ResNet):
    """A ResNet, whose blocks attend along both axes of the map."""

    def __init__(self, config: AxialConfig) -> None:
        c, coarsest = config, config.strides[-1]
        fault, _ = strided(c.image_size, (coarsest, coarsest))
        if fault:
            raise ShapeError(fault)
        left = iter(plan(c))

        def block(dim_in: int, dim: int, _: int, drop_path: float) -> Residual:
            stage, grid, stride = next(left)
            if stage < c.since:
                return bottleneck(dim_in, dim, stride, drop_path)
            branch = AxialBranch(dim_in, dim, stride, c.num_heads, grid)
            return Residual(branch, shortcut(dim_in, dim, stride), drop_path)

        super().__init__(c, block, deep_stem(c) if c.deep_stem else None)
        self.levels = stage_levels(c.embed_dim, c.strides)
        for part in self.modules():
            if isinstance(part, AxialAttention):
                part.reset()
            elif isinstance(part, AxialBranch):
                nn.init.zeros_(part.up.norm.weight)

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images of the size that the codes are for; `taps` are stages, or `final`."""
        size = tuple(images.shape[2:])
        if size != self.config.image_size:
            rows, columns = self.config.image_size
            raise ShapeError(
                f"the image is {size[0]}x{size[1]} pixels; this model reads {rows}x{columns}"
            )
        return super().forward(images, taps)
