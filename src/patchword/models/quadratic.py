"""Quadratic attention: heads that look at a place relative to their own, whatever is there.

Paper      Cordonnier et al., "On the Relationship between Self-Attention and Convolutional
           Layers", ICLR 2020, arXiv:1911.03584
Reference  github.com/epfml/attention-cnn, models/bert.py (GaussianSelfAttention) and
           models/transformer.py
Departures scores are the squared distance itself, less the constant that cancels; a fresh head is
           normal with zero biases, of the deviation of the authors' uniform one
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.features import Backbone, Features, Level, Trace
from patchword.layers import (
    Grid,
    Operator,
    PatchEmbed,
    TokenMixer,
    by_index,
    merge_heads,
    relative_index,
)
from patchword.weights import Format, Rule, View


@dataclass(frozen=True, kw_only=True)
class QuadraticConfig:
    """BERT's layers on small pictures: the sizes of runs/quadratic/run.sh and of train.py."""

    image_size: tuple[int, int] = (32, 32)  # rows, columns; any other works as well
    patch_size: int = 2  # pixels that are put side by side in a token
    in_chans: int = 3  # channels of an image
    embed_dim: int = 400  # channels of a token
    hidden_dim: int = 512  # channels within the MLP
    depth: int = 6  # blocks
    num_heads: int = 9  # as many as a 3x3 kernel has places
    isotropic: bool = False  # a width per head; else a matrix
    drop_rate: float = 0.0  # dropout: of attention, and of both branches
    norm_eps: float = 1e-12

    def build(self) -> "Quadratic":
        """Make the backbone, with fresh weights."""
        return Quadratic(self)


VARIANTS = {
    "sa_quadratic_32": QuadraticConfig(),
    "sa_quadratic_isotropic_32": replace(QuadraticConfig(), isotropic=True),
}

PREPROCESSING = Frame(
    image_size=(32, 32),
    crop=1.0,
    interpolation="bilinear",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)


def kernel(matrix: Tensor) -> Tensor:
    """Return a matrix over the pixels of a patch, each with 3 channels, as a kernel."""
    side = round((matrix.shape[1] / 3) ** 0.5)
    return matrix.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2)


PATCH = View(kernel, lambda kernel: kernel.permute(0, 2, 3, 1).flatten(1))

FORMATS = (
    Format(
        "authors",
        Rule("features_upscale.weight", "stem.proj.weight", PATCH),
        Rule("features_upscale.bias", "stem.proj.bias"),
        Rule("encoder.layer.#.attention.self.attention_centers", "blocks.#.attend.centers"),
        Rule("encoder.layer.#.attention.self.attention_spreads", "blocks.#.attend.spreads"),
        Rule("encoder.layer.#.attention.self.value.*", "blocks.#.value.*"),
        Rule("encoder.layer.#.attention.output.dense.*", "blocks.#.proj.*"),
        Rule("encoder.layer.#.attention.output.LayerNorm.*", "blocks.#.norm1.*"),
        Rule("encoder.layer.#.intermediate.dense.*", "blocks.#.fc1.*"),
        Rule("encoder.layer.#.output.dense.*", "blocks.#.fc2.*"),
        Rule("encoder.layer.#.output.LayerNorm.*", "blocks.#.norm2.*"),
        head=(Rule("classifier.*", "head.label.*"),),
        ignore=("attention_mask", "encoder.layer.#.attention.self.R"),
    ),
)


class Gaussian(Operator):
    """softmax(-|S' (offset - centre)|^2 / 2) over all cells (equation 9 and appendix B).

    It depends on the grid alone: neither on what the cells hold, nor on the image.
    """

    def __init__(self, heads: int, *, isotropic: bool, drop: float) -> None:
        super().__init__()
        self.centers = nn.Parameter(2 * torch.randn(heads, 2))  # rows down, columns across
        start = torch.ones(heads) if isotropic else torch.eye(2).repeat(heads, 1, 1)
        self.spreads = nn.Parameter(start + 0.01 * torch.randn_like(start))  # S, one per head
        self.drop = nn.Dropout(drop)

    def forward(
        self, rows: int, columns: int, v: Float[Tensor, "b 1 n e"]
    ) -> Float[Tensor, "b heads n e"]:
        """Mix the same values by every head, in one product over heads, cells and images."""
        mixed = self.drop(self.weights(rows, columns, v))
        return torch.einsum("hnm,bme->bhne", mixed[0], v[:, 0])

    def weights(
        self, rows: int, columns: int, v: Float[Tensor, "b 1 n e"]
    ) -> Float[Tensor, "1 heads n n"]:
        """Return how much each cell takes from each other.

        Scores are worked out once for every offset of two cells, of which there are few.
        """
        kind = torch.promote_types(self.centers.dtype, torch.float32)
        down, across = (
            torch.arange(n - 1, -n, -1, dtype=kind, device=v.device) for n in (rows, columns)
        )
        apart = torch.cartesian_prod(down, across) - self.centers.to(kind)[:, None]  # h offsets 2
        spreads = self.spreads.to(kind)
        scaled = apart * spreads[:, None, None] if spreads.ndim == 1 else apart @ spreads
        scores = scaled.square().sum(-1).T / -2
        index = relative_index((rows, columns)).to(v.device)
        return by_index(scores, index).softmax(-1)[None].to(v.dtype)


class QuadraticBlock(TokenMixer):
    """norm(x + attention), then norm(x + MLP): BERT's post-norm layer."""

    def __init__(self, config: QuadraticConfig) -> None:
        super().__init__()
        c, dim = config, config.embed_dim
        self.attend = Gaussian(c.num_heads, isotropic=c.isotropic, drop=c.drop_rate)
        self.value, self.proj = nn.Linear(c.num_heads * dim, dim), nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, c.norm_eps)
        self.fc1, self.fc2 = nn.Linear(dim, c.hidden_dim), nn.Linear(c.hidden_dim, dim)
        self.norm2 = nn.LayerNorm(dim, c.norm_eps)
        self.drop = nn.Dropout(c.drop_rate)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix between tokens, then transform each."""
        mixed = self.attend(grid[0], grid[1], x[:, None])
        x = self.norm1(x + self.drop(self.proj(self.value(merge_heads(mixed)))))
        return self.norm2(x + self.drop(self.fc2(F.gelu(self.fc1(x)))))


class Quadratic(Backbone):
    """A transformer over small patches, whose attention is a blur around a learned shift."""

    def __init__(self, config: QuadraticConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = PatchEmbed(c.patch_size, c.in_chans, c.embed_dim)
        self.blocks = nn.ModuleList(QuadraticBlock(c) for _ in range(c.depth))
        self.norm = nn.Identity()  # every block ends in one
        stride = (c.patch_size, c.patch_size)
        names = [*(f"blocks.{i}" for i in range(c.depth)), "final"]
        self.levels = tuple(Level(name, c.embed_dim, stride) for name in names)
        self.multiple = c.patch_size
        self.width = c.embed_dim
        self.head_std = (3 * c.embed_dim) ** -0.5

    def forward(self, images: Float[Tensor, "b c h w"], taps: Sequence[str] = ()) -> Features:
        """Encode images; `taps` are blocks, or `final`, the last of them."""
        trace = Trace(self, taps)
        x, grid = self.stem(images)
        for i, block in enumerate(self.blocks):
            x = block(x, grid)
            trace.tokens(f"blocks.{i}", x, grid)
        x = self.norm(x)
        trace.tokens("final", x, grid)
        return trace.features(x.mean(dim=1))

    def spine(self) -> list[nn.Module]:
        """Return the stem, the blocks and the last norm, which is none."""
        return [self.stem, *self.blocks, self.norm]
