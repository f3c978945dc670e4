"""Dot-product attention."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.grid import Grid


def split_heads(x: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b h n c"]:
    """Give each of h heads its c = d / h channels."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "b h n c"]) -> Float[Tensor, "b n d"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(2)


class Attend(nn.Module):
    """softmax(q k' / sqrt(c) + bias) v.

    It has no parameters. It is a module so that `patchword.inspection` can hook it and work the
    weights out from its inputs: the fused kernel stays, and models pay nothing to be looked into.
    """

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """Attend from n queries to m keys; `bias` broadcasts to (b h n m)."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, dim: int, num_heads: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(
        self, x: Float[Tensor, "b n d"], grid: Grid, queries: int | None = None
    ) -> Float[Tensor, "b k d"]:
        """Mix tokens; where they lie on the grid plays no part.

        Args:
            x: n tokens per image.
            grid: the cells that the last tokens are.
            queries: answer for the first k tokens alone; for all n where it is None.
        """
        if queries is None:
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            dim = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            q = F.linear(x[:, :queries], weight[:dim], bias[:dim])
            k, v = F.linear(x, weight[dim:], bias[dim:]).chunk(2, -1)
        q, k, v = (split_heads(t, self.num_heads) for t in (q, k, v))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v))))
