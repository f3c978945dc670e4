"""LocalViT-Swin: Swin with feed-forwards that look at each patch's neighbours.

Paper      Li et al., "LocalViT: Bringing Locality to Vision Transformers", 2021,
           arXiv:2104.05707
Reference  github.com/ofsoundof/LocalViT, models/localvit_swin.py
Departures those of Swin: grids that windows do not tile are padded
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from patchword.claim import Claim
from patchword.data.frame import Frame
from patchword.layers import READING, Grid, StochasticDepth, WindowAttention, Windows, reorder
from patchword.models.localvit import LocalFeedForward
from patchword.models.swin import Swin, SwinConfig
from patchword.weights import Rule
from patchword.weights.windowed import authors_format


@dataclass(frozen=True, kw_only=True)
class LocalSwinConfig(SwinConfig):
    """Swin's settings; `mlp_ratio` is of the local feed-forward."""

    def build(self) -> Swin:
        """Make the backbone, with fresh weights."""
        return Swin(self, self.block)

    def block(self, stage: int, windows: Windows, rate: float) -> "LocalWindowBlock":
        """Make a block of a stage."""
        dim = self.embed_dim * 2**stage
        attn = WindowAttention(
            dim, self.num_heads[stage], windows, bias=self.qkv_bias, drop=self.drop_rate
        )
        local = LocalFeedForward(dim, int(dim * self.mlp_ratio), reduction=dim // 4)
        return LocalWindowBlock(dim, attn, local, rate)


VARIANTS = {"localvit_swin_tiny_patch4_window7_224": LocalSwinConfig()}

CLAIMS: dict[str, Claim] = {
    "localvit_swin_tiny_patch4_window7_224": Claim(top1=81.86, source="README")
}

PREPROCESSING = Frame(image_size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

FORMATS = (
    authors_format(
        (
            Rule("attn.qkv.*", "attn.qkv.*"),
            Rule("attn.relative_position_bias_table", "attn.bias.table"),
            Rule("conv.conv.*", "local.layers.*"),
        )
    ),
)


class LocalWindowBlock(nn.Module):
    """Attention within windows, in whose order tokens come, and a feed-forward on the grid."""

    def __init__(
        self, dim: int, attn: WindowAttention, local: LocalFeedForward, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, 1e-5), attn
        self.drop_path = StochasticDepth(drop_path)
        self.local = local

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Mix between the tokens of a window, then between neighbours."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        order = self.attn.windows(x, grid)
        x = self.local(reorder(x, order, READING), grid)
        return reorder(x, READING, order)
