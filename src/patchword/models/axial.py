"""Axial-ResNet: attention along columns, then along rows, with learned codes of relative position.

Paper      Wang et al., "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation",
           ECCV 2020, arXiv:2003.07853
Reference  github.com/csrhddlam/axial-deeplab, lib/models/axialnet.py
Departures images need not be square; a fresh head is normal with zero biases, of the deviation of
           the authors' uniform one
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Features
from patchword.layers import (
    Grid,
    Layout,
    Mixer,
    OffsetTable,
    Operator,
    parted,
    relative_index,
    strided,
)
from patchword.models.resnet import ConvNorm, Residual, ResNet, StagesConfig, conv, shortcut
from patchword.weights import Format, Rule, View, modules, within


@dataclass(frozen=True, kw_only=True)
class AxialConfig(StagesConfig):
    """Section 4.1 of the paper; a ResNet whose 3x3 convolutions became attention."""

    stem_dim: int = 32
    embed_dim: tuple[int, ...] = (128, 256, 512, 1024)
    depth: tuple[int, ...] = (1, 2, 4, 1)
    num_heads: int = 8

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


def grids(config: AxialConfig) -> list[Grid]:
    """Return the grid that each block reads."""
    rows, columns = (side // 4 for side in config.image_size)
    found = []
    for stage, depth in enumerate(config.depth):
        for block in range(depth):
            found.append((rows, columns))
            if stage and not block:
                rows, columns = rows // 2, columns // 2
    return found


def indices(config: AxialConfig) -> dict[str, Tensor]:
    """Return the tables of offsets that the authors keep beside the weights."""
    left = iter(grids(config))
    return {
        f"layer{stage + 1}.{block}.{axis}_block.flatten_index": relative_index((span,)).flatten()
        for stage, depth in enumerate(config.depth)
        for block in range(depth)
        for axis, span in zip(("hight", "width"), next(left), strict=True)
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


class RelativeCodes(OffsetTable):
    """A learned vector per offset of two places on a line."""

    def __init__(self, dim: int, span: int) -> None:
        super().__init__()
        self.reach = (span,)
        self.table = nn.Parameter(torch.empty(dim, 2 * span - 1))
        self.register_buffer("index", relative_index((span,)), persistent=False)

    index: Tensor

    def forward(self, first: int, last: int) -> Float[Tensor, "c span span"]:
        """Return some channels of the code of each place (second axis) relative to each other."""
        return self.table[first:last, self.index]

    def at(self, reach: Grid) -> Float[Tensor, "c offsets"]:
        """Return the table for another span (linear; the authors' code has no rule)."""
        return F.interpolate(self.table[None], 2 * reach[0] - 1, mode="linear")[0]


class PositionSensitive(Operator):
    """softmax(q k' + q r_q' + k r_k') (v + r_v) along lines (equation 3).

    Each term of the scores has a batch norm of its own, in place of a scale. The two sums of the
    output are returned side by side, as each goes on to a batch norm of its own.

    Args:
        heads: of each line.
        dim: channels of a head's values; its queries and keys have half as many.
        span: cells of a line.
    """

    linear = False

    def __init__(self, heads: int, dim: int, span: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim
        self.codes = RelativeCodes(2 * dim, span)
        self.norm = nn.BatchNorm2d(3 * heads)

    def forward(
        self,
        q: Float[Tensor, "b m span c"],
        k: Float[Tensor, "b m span c"],
        v: Float[Tensor, "b m span e"],
    ) -> Float[Tensor, "b m span e 2"]:
        """Attend along m heads of lines; return the mixed values and the mixed codes."""
        mixed = self.weights(q, k, v)
        r_v = self.codes(self.dim, 2 * self.dim)
        return torch.stack([mixed @ v, torch.einsum("bmij,eij->bmie", mixed, r_v)], dim=-1)

    def weights(
        self,
        q: Float[Tensor, "b m span c"],
        k: Float[Tensor, "b m span c"],
        v: Float[Tensor, "b m span e"],
    ) -> Float[Tensor, "b m span span"]:
        """Return what values and codes are mixed by."""
        q, k = (t.unflatten(1, (-1, self.heads)).flatten(0, 1) for t in (q, k))
        r_q, r_k = self.codes(0, self.dim).chunk(2)
        qr = torch.einsum("lhic,cij->lhij", q, r_q)
        kr = torch.einsum("lhjc,cji->lhij", k, r_k)
        terms = self.norm(torch.cat([q @ k.mT, qr, kr], dim=1))  # per head, over all lines
        scores = terms.unflatten(1, (3, -1)).sum(1)
        return scores.softmax(-1).unflatten(0, (len(v), -1)).flatten(1, 2)


class AxialAttention(Mixer):
    """Attention along the columns of a map, or along its rows (section 3.2).

    Args:
        span: cells of a line.
        across: attend along rows; else along columns.
    """

    def __init__(self, dim_in: int, dim: int, heads: int, span: int, *, across: bool) -> None:
        super().__init__()
        self.across, self.heads = across, heads
        self.qkv = nn.Conv2d(dim_in, 2 * dim, 1, bias=False)
        self.norm_qkv = nn.BatchNorm2d(2 * dim)
        self.attend = PositionSensitive(heads, dim // heads, span)
        self.norm = nn.BatchNorm2d(2 * dim)
        self.reset()

    def reset(self) -> None:
        """Start as the authors do."""
        nn.init.normal_(self.qkv.weight, std=self.qkv.in_channels**-0.5)
        nn.init.normal_(self.attend.codes.table, std=self.attend.dim**-0.5)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Mix the cells of each line."""
        y = self.norm_qkv(self.qkv(x))
        y = y.mT if self.across else y  # now lines are columns
        lines = y.unflatten(1, (self.heads, -1)).permute(0, 4, 1, 3, 2).flatten(1, 2)
        half = self.attend.dim // 2
        y = self.attend(*lines.split([half, half, 2 * half], -1))
        y = y.unflatten(1, (-1, self.heads)).permute(0, 2, 4, 5, 3, 1).flatten(1, 3)
        y = self.norm(y.mT if self.across else y)
        return y.unflatten(1, (-1, 2)).sum(2)

    def layout(self, x: Tensor) -> Layout:
        """Return where the cells of each line lie."""
        grid = (x.shape[2], x.shape[3])
        cells = torch.arange(prod(grid)).view(grid)
        return parted(cells if self.across else cells.T, grid)


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


class AxialResNet(ResNet):
    """A ResNet, whose blocks attend along both axes of the map."""

    def __init__(self, config: AxialConfig) -> None:
        coarsest = 4 << len(config.depth) - 1
        fault, _ = strided(config.image_size, (coarsest, coarsest))
        if fault:
            raise ShapeError(fault)
        left = iter(grids(config))

        def block(dim_in: int, dim: int, stride: int, drop_path: float) -> Residual:
            branch = AxialBranch(dim_in, dim, stride, config.num_heads, next(left))
            return Residual(branch, shortcut(dim_in, dim, stride), drop_path)

        super().__init__(config, block)
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
