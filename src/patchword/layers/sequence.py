"""Attention and residual branches for sequences with masks (Transformer, BERT, GPT-2)."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.layers.attention import Attend, merge_heads, split_heads


class SequenceAttention(nn.Module):
    """Multi-head attention whose mask is True where a query may attend to a key."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attend = Attend()
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Float[Tensor, "b n d"]) -> list[Float[Tensor, "b h n c"]]:
        """Return queries, keys and values by head."""
        return [split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, -1)]

    def mix(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m c"],
        mask: Bool[Tensor, "#b 1 #n m"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Attend, and join the heads."""
        return self.proj(merge_heads(self.attend(q, k, v, mask)))


class SelfAttention(SequenceAttention):
    """A sequence reads itself."""

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "#b 1 #n n"] | None
    ) -> Float[Tensor, "b n d"]:
        """Mix tokens."""
        q, k, v = self.project(x)
        return self.mix(q, k, v, mask)


class CrossAttention(SequenceAttention):
    """A sequence reads another, the memory, of the same width."""

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        memory: Float[Tensor, "b m d"],
        mask: Bool[Tensor, "#b 1 #n m"] | None,
    ) -> Float[Tensor, "b n d"]:
        """Mix memory into tokens."""
        cut = (x.shape[-1], 2 * x.shape[-1])
        weight, bias = self.qkv.weight.split(cut), self.qkv.bias.split(cut)
        k, v = F.linear(memory, weight[1], bias[1]).chunk(2, -1)
        q, k, v = (split_heads(t, self.num_heads) for t in (F.linear(x, weight[0], bias[0]), k, v))
        return self.mix(q, k, v, mask)


class Residual(nn.Module):
    """A branch around which its input is led, with a norm and dropout of the branch's output.

    The branch is handed further inputs as they come.
    """

    def __init__(self, norm: nn.Module, branch: nn.Module, drop: float = 0.0) -> None:
        super().__init__()
        self.norm, self.branch, self.drop = norm, branch, nn.Dropout(drop)


class PostNorm(Residual):
    """norm(x + branch(x)): the Transformer's own order, and BERT's."""

    def forward(self, x: Float[Tensor, "b n d"], *inputs: object) -> Float[Tensor, "b n d"]:
        """Add the branch, then norm."""
        return self.norm(x + self.drop(self.branch(x, *inputs)))


class PreNorm(Residual):
    """x + branch(norm(x)): the order of GPT-2 and ViT, which trains without warm-up."""

    def forward(self, x: Float[Tensor, "b n d"], *inputs: object) -> Float[Tensor, "b n d"]:
        """Norm what the branch reads, then add."""
        return x + self.drop(self.branch(self.norm(x), *inputs))
