"""SAN: self-attention networks, whose weights are vectors and reach over a small window.

Paper      Zhao et al., "Exploring Self-attention for Image Recognition", CVPR 2020,
           arXiv:2004.13621
Reference  github.com/hszhao/SAN, model/san.py (its kernels: lib/sa)
Departures the offset of two positions is taken before it is projected, as the bias cancels; a
           fresh head is normal with zero biases, of the deviation of the authors' uniform one
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import LocalOperator
from patchword.weights import POINTWISE, Format, Rule


@dataclass(frozen=True, kw_only=True)
class SANConfig:
    """Table 2 of the paper; tuples have an entry per stage."""

    image_size: tuple[int, int] = (224, 224)  # rows, columns
    in_chans: int = 3  # channels of an image
    attention: Literal["pairwise", "patchwise"] = "pairwise"
    embed_dim: tuple[int, ...] = (64, 256, 512, 1024, 2048)  # channels of a map
    depth: tuple[int, ...] = (2, 1, 2, 4, 1)  # blocks
    kernel_size: tuple[int, ...] = (3, 7, 7, 7, 7)  # cells along a side of the window, odd
    share: int = 8  # channels of a value that one weight scales

    def build(self) -> "SAN":
        """Make the backbone, with fresh weights."""
        return SAN(self)


def patchwise(config: SANConfig) -> SANConfig:
    """Return the same network with patchwise attention."""
    return replace(config, attention="patchwise")


SAN10 = SANConfig()
SAN15 = SANConfig(depth=(3, 2, 3, 5, 2))
SAN19 = SANConfig(depth=(3, 3, 4, 6, 3))

VARIANTS = {
    "san10_pairwise": SAN10,
    "san10_patchwise": patchwise(SAN10),
    "san15_pairwise": SAN15,
    "san15_patchwise": patchwise(SAN15),
    "san19_pairwise": SAN19,
    "san19_patchwise": patchwise(SAN19),
}

CLAIMS = {
    "san10_pairwise": Claim(params=10.5, macs=2.2, top1=74.9, source="README"),
    "san10_patchwise": Claim(params=11.8, macs=1.9, top1=77.1, source="README"),
    "san15_pairwise": Claim(params=14.1, macs=3.0, top1=76.6, source="README"),
    "san15_patchwise": Claim(params=16.2, macs=2.6, top1=78.0, source="README"),
    "san19_pairwise": Claim(params=17.6, macs=3.8, top1=76.9, source="README"),
    "san19_patchwise": Claim(params=20.5, macs=3.3, top1=78.2, source="README"),
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = (
    Format(
        "authors",
        Rule("conv_in.weight", "stem.weight"),
        Rule("bn_in.*", "downs.0.norm.*"),
        Rule("bn0.*", "downs.1.norm.*"),
        Rule("bn1.*", "downs.2.norm.*"),
        Rule("bn2.*", "downs.3.norm.*"),
        Rule("bn3.*", "downs.4.norm.*"),
        Rule("bn4.*", "norm.0.*"),
        Rule("conv#.weight", "downs.#.proj.weight"),
        Rule("layer#.#.bn1.*", "stages.#.#.norm1.*"),
        Rule(("layer#.#.sam.conv1.*", "layer#.#.sam.conv2.*"), "stages.#.#.attn.qk.*"),
        Rule("layer#.#.sam.conv3.*", "stages.#.#.attn.v.*"),
        Rule("layer#.#.sam.conv_w.#.*", "stages.#.#.attn.attend.relate.#.*"),
        Rule("layer#.#.sam.conv_p.weight", "stages.#.#.attn.attend.position.weight", POINTWISE),
        Rule("layer#.#.sam.conv_p.bias", "stages.#.#.attn.attend.position.bias"),
        Rule("layer#.#.bn2.*", "stages.#.#.norm2.*"),
        Rule("layer#.#.conv.*", "stages.#.#.proj.*"),
        head=(Rule("fc.*", "head.label.*"),),
    ),
)


class Pairwise(LocalOperator):
    """Weights from the difference of two cells, and from how they lie (equation 2)."""

    def __init__(self, rel: int, heads: int, kernel_size: int) -> None:
        super().__init__(kernel_size, "reflect")
        self.relate = nn.Sequential(
            nn.BatchNorm2d(rel + 2),
            nn.ReLU(),
            nn.Conv2d(rel + 2, rel, 1, bias=False),
            nn.BatchNorm2d(rel),
            nn.ReLU(),
            nn.Conv2d(rel, heads, 1),
        )
        self.position = nn.Linear(2, 2)

    def offsets(self, x: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "1 2 window n"]:
        """Return how far, across and down, each cell is from its neighbours; a map spans 2."""
        kind = torch.promote_types(x.dtype, torch.float32)
        down, across = (torch.linspace(-1, 1, n, dtype=kind, device=x.device) for n in x.shape[2:])
        places = torch.stack(torch.meshgrid(across, down, indexing="xy"))[None]
        apart = torch.stack([places - place for place in self.around(places)], dim=2)
        apart = apart.flatten(3).to(x.dtype)
        return F.linear(apart.movedim(1, -1), self.position.weight).movedim(-1, 1)

    def shares(
        self, q: Float[Tensor, "b c rows columns"], k: Float[Tensor, "b c rows columns"]
    ) -> Float[Tensor, "b heads window rows columns"]:
        """Softmax over the window."""
        apart = torch.stack([q - key for key in self.around(k)], dim=2).flatten(3)
        offsets = self.offsets(q).expand(len(q), -1, -1, -1)
        scores = self.relate(torch.cat([apart, offsets], dim=1))
        return scores.softmax(2).unflatten(3, q.shape[2:])


class Patchwise(LocalOperator):
    """Weights from the whole window at once, not normalised (equation 4)."""

    def __init__(self, rel: int, heads: int, kernel_size: int) -> None:
        super().__init__(kernel_size, "reflect")
        seen, window = rel * (kernel_size**2 + 1), kernel_size**2
        self.relate = nn.Sequential(
            nn.BatchNorm2d(seen),
            nn.ReLU(),
            nn.Conv2d(seen, heads, 1, bias=False),
            nn.BatchNorm2d(heads),
            nn.ReLU(),
            nn.Conv2d(heads, window * heads, 1),
        )

    def shares(
        self, q: Float[Tensor, "b c rows columns"], k: Float[Tensor, "b c rows columns"]
    ) -> Float[Tensor, "b heads window rows columns"]:
        """Map the query beside all keys to a weight per head and place."""
        keys = torch.stack(self.around(k), dim=2).flatten(1, 2)
        patch = torch.cat([q, keys], dim=1)
        return self.relate(patch).unflatten(1, (-1, self.kernel_size**2))


class SelfAttention(nn.Module):
    """Queries, keys and values of each cell, and an operator that mixes them.

    Args:
        dim: channels of a map.
        rel: channels of a query or key.
        mid: channels of a value.
        operator: makes what mixes, from `rel`, the number of weights and the window's side.
        kernel_size: cells along the window's side.
        share: channels that one weight scales: those equal modulo the number of weights.
    """

    def __init__(
        self,
        dim: int,
        rel: int,
        mid: int,
        operator: Callable[[int, int, int], LocalOperator],
        kernel_size: int,
        share: int,
    ) -> None:
        super().__init__()
        self.share = share
        self.qk = nn.Conv2d(dim, 2 * rel, 1)
        self.v = nn.Conv2d(dim, mid, 1)
        self.attend = operator(rel, mid // share, kernel_size)

    def forward(self, x: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b d rows columns"]:
        """Gather from each cell's window."""
        q, k = self.qk(x).chunk(2, 1)
        v = self.v(x).flatten(2).unflatten(1, (self.share, -1)).permute(0, 2, 3, 1)
        mixed = self.attend(q, k, v)
        return mixed.permute(0, 3, 1, 2).flatten(1, 2).unflatten(2, x.shape[2:])


class SANBlock(nn.Module):
    """Norm, attention, norm, projection, around them the identity (figure 2)."""

    def __init__(self, dim: int, attn: nn.Module) -> None:
        super().__init__()
        mid = dim // 4
        self.norm1, self.attn = nn.BatchNorm2d(dim), attn
        self.norm2, self.proj = nn.BatchNorm2d(mid), nn.Conv2d(mid, dim, 1)

    def forward(self, x: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b c rows columns"]:
        """Add what the windows hold to each cell."""
        return x + self.proj(self.norm2(self.attn(self.norm1(x).relu())).relu())


class Down(nn.Module):
    """Norm, the largest of each 2 x 2 cells, and a projection to the next stage's channels."""

    def __init__(self, before: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.proj = nn.Conv2d(before, dim, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """Halve both sides, rounded down."""
        return self.proj(F.max_pool2d(self.norm(x).relu(), 2))


class SAN(Backbone):
    """A pyramid of five stages, without any convolution larger than a pixel."""

    def __init__(self, config: SANConfig) -> None:
        super().__init__()
        c = self.config = config
        first, last = c.embed_dim[0], c.embed_dim[-1]
        self.stem = nn.Conv2d(c.in_chans, first, 1, bias=False)
        self.downs = nn.ModuleList(map(Down, (first, *c.embed_dim), c.embed_dim))
        self.stages = nn.ModuleList(
            nn.Sequential(*(self.block(i) for _ in range(depth))) for i, depth in enumerate(c.depth)
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU())
        sizes = [(2 << i, 2 << i) for i in range(len(c.depth))]
        levels = [Level(f"stages.{i}", c.embed_dim[i], s) for i, s in enumerate(sizes)]
        self.levels = (*levels, Level("final", last, sizes[-1]))
        self.width = last
        self.head_std = (3 * last) ** -0.5
        self.silent = ("*.attend.position.bias",)  # it cancels in every offset

    def block(self, stage: int) -> SANBlock:
        """Make a block of a stage: a sixteenth of the channels relate, a quarter are mixed."""
        c, dim = self.config, self.config.embed_dim[stage]
        operator = {"pairwise": Pairwise, "patchwise": Patchwise}[c.attention]
        sizes = (dim // 16, dim // 4)
        return SANBlock(dim, SelfAttention(dim, *sizes, operator, c.kernel_size[stage], c.share))

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are stages, before the next one's norm, or `final`."""
        trace = Trace(self, taps)
        self.check(images)
        x = self.stem(images)
        for i, (down, stage) in enumerate(zip(self.downs, self.stages, strict=True)):
            x = stage(down(x))
            trace.map(f"stages.{i}", x)
        x = self.norm(x)
        trace.map("final", x)
        return trace.features(x.mean(dim=(2, 3)))

    def check(self, images: Float[Tensor, "b c h w"]) -> None:
        """Hold that every stage's map is large enough to be mirrored at its borders.

        Raises:
            ShapeError: it is not, or the channels are others.
        """
        channels, *size = images.shape[1:]
        if channels != self.config.in_chans:
            raise ShapeError(
                f"the images have {channels} channels; this model reads {self.config.in_chans}"
            )
        least = max((k // 2 + 1) * (2 << i) for i, k in enumerate(self.config.kernel_size))
        if min(size) < least:
            raise ShapeError(
                f"the image is {size[0]}x{size[1]} pixels; windows of "
                f"{self.config.kernel_size} cells need sides of at least {least}"
            )

    def spine(self) -> list[nn.Module]:
        """Return the stem, each stage's down-sampling and blocks, and the last norm."""
        pairs = zip(self.downs, self.stages, strict=True)
        return [
            self.stem,
            *(part for down, stage in pairs for part in (down, *stage.children())),
            self.norm,
        ]
