"""Non-local networks: ResNets with blocks in which every cell sees the whole map.

Paper      Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971
Reference  github.com/facebookresearch/video-nonlocal-net, lib/models/nonlocal_helper.py (for
           video, in Caffe2); the layer also as timm's NonLocalAttn
Departures images, as in the paper's section 5.2, not clips. Scores are scaled as in the authors'
           code, which the paper's equations are not; `scale` has both
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.layers import Attend, Layout, Mixer, Operator, whole
from patchword.models.resnet import ResNet, StagesConfig, bottleneck

Affinity = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
"""How much two cells have to do with each other (section 3.2)."""

Pool = Literal["input", "projected", "none"]
"""What a 2 x 2 maximum halves: what keys and values are made of (the authors), the keys and values
themselves (others), or nothing."""


@dataclass(frozen=True, kw_only=True)
class NonLocalConfig(StagesConfig):
    """A ResNet of bottlenecks, and where it has non-local blocks."""

    nonlocal_stages: tuple[int, ...] = (1, 2)  # counted from 0
    nonlocal_every: int = 2  # blocks of such a stage
    affinity: Affinity = "embedded_gaussian"
    scale: Literal["root", "none"] = "root"  # of scores before softmax: channels ** -0.5, or 1
    pool: Pool = "input"

    def build(self) -> "NonLocalNet":
        """Make the backbone, with fresh weights."""
        return NonLocalNet(self)


R50 = NonLocalConfig()
R101 = NonLocalConfig(depth=(3, 4, 23, 3))

VARIANTS = {
    "nonlocal5_resnet50": R50,
    "nonlocal5_resnet50_gaussian": replace(R50, affinity="gaussian"),
    "nonlocal5_resnet50_dot_product": replace(R50, affinity="dot_product"),
    "nonlocal5_resnet50_concatenation": replace(R50, affinity="concatenation"),
    "nonlocal10_resnet50": replace(R50, nonlocal_every=1),
    "nonlocal13_resnet101": R101,
}

PREPROCESSING = Frame(
    image_size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

FORMATS = ()  # nobody has weights of it for images


class DotProduct(Operator):
    """q k' v / m, for m keys (equation 4)."""

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
    ) -> Float[Tensor, "b h n e"]:
        """Mix values; from the right, so that no score is ever stored."""
        return q @ (k.mT @ v / v.shape[2])

    def weights(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
    ) -> Float[Tensor, "b h n m"]:
        """Work the scores out."""
        return q @ k.mT / k.shape[2]


class Concatenation(Operator):
    """relu(w [q, k]) v / m, for m keys (equation 5)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dim, 1, bias=False)

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
    ) -> Float[Tensor, "b h n e"]:
        """Mix values."""
        return self.weights(q, k, v) @ v

    def weights(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
    ) -> Float[Tensor, "b h n m"]:
        """Add what query and key say by themselves: the same as projecting all pairs."""
        of_query, of_key = self.project.weight.chunk(2, 1)
        return (F.linear(q, of_query) + F.linear(k, of_key).mT).relu() / k.shape[2]


class NonLocal(Mixer):
    """x + norm(out(attention of x to itself)), the identity at the start (section 3.3).

    Args:
        dim: channels of the map.
        inner: channels of queries, keys and values.
        affinity: of two cells.
        scale: of scores before a softmax.
        pool: what is halved in resolution, so that there are fewer keys.
    """

    affinity: Affinity
    pool: Pool

    def __init__(
        self, dim: int, inner: int, *, affinity: Affinity, scale: float, pool: Pool
    ) -> None:
        super().__init__()
        self.affinity, self.scale, self.pool = affinity, scale, pool
        embedded = affinity != "gaussian"
        self.theta = nn.Conv2d(dim, inner, 1) if embedded else nn.Identity()
        self.phi = nn.Conv2d(dim, inner, 1) if embedded else nn.Identity()
        self.g = nn.Conv2d(dim, inner, 1)
        match affinity:
            case "dot_product":
                self.attend = DotProduct()
            case "concatenation":
                self.attend = Concatenation(inner)
            case _:
                self.attend = Attend()
        self.out = nn.Conv2d(inner, dim, 1)
        self.norm = nn.BatchNorm2d(dim)
        self.reset()

    def reset(self) -> None:
        """Start as the authors do."""
        for part in self.children():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.01)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add to each cell what it gathers from all."""
        seen = F.max_pool2d(x, 2) if self.pool == "input" else x
        q, k, v = self.theta(x), self.keys(seen), self.g(seen)
        if self.pool == "projected":
            k, v = F.max_pool2d(k, 2), F.max_pool2d(v, 2)
        q, k, v = (t.flatten(2).mT[:, None] for t in (q, k, v))
        if isinstance(self.attend, Attend):
            q = q * (self.scale * q.shape[-1] ** 0.5)  # for a scale of another size
        mixed = self.attend(q, k, v)[:, 0].mT.unflatten(2, x.shape[2:])
        return x + self.norm(self.out(mixed))

    def layout(self, x: Tensor) -> Layout:
        """Return where queries and keys lie; pooled keys lie on a grid of their own."""
        grid = (x.shape[2], x.shape[3])
        fewer = grid if self.pool == "none" else (grid[0] // 2, grid[1] // 2)
        return whole(prod(grid), grid, key_grid=fewer)

    def keys(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Embed keys, without the bias where it would cancel: in a softmax over them."""
        if self.affinity == "embedded_gaussian" and isinstance(self.phi, nn.Conv2d):
            return F.conv2d(x, self.phi.weight)
        return self.phi(x)


class NonLocalNet(ResNet):
    """A ResNet, some of whose blocks are followed by a non-local one."""

    def __init__(self, config: NonLocalConfig) -> None:
        c = config
        places = iter(
            stage in c.nonlocal_stages and i % c.nonlocal_every == c.nonlocal_every - 1
            for stage, depth in enumerate(c.depth)
            for i in range(depth)
        )

        def block(dim_in: int, dim: int, stride: int, drop_path: float) -> nn.Module:
            local = bottleneck(dim_in, dim, stride, drop_path)
            if not next(places):
                return local
            inner = dim // 2
            scored = dim if c.affinity == "gaussian" else inner
            scale = scored**-0.5 if c.scale == "root" else 1.0
            beyond = NonLocal(dim, inner, affinity=c.affinity, scale=scale, pool=c.pool)
            return nn.Sequential(local, beyond)

        super().__init__(config, block)
        if c.affinity == "embedded_gaussian":
            self.silent = ("*.phi.bias",)
        for part in self.modules():
            if isinstance(part, NonLocal):
                part.reset()
