"""Dot-product attention, and what every other operator that mixes values has in common with it."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchword.layers.answering import answering
from patchword.layers.grid import Grid
from patchword.layers.layout import TokenMixer
from patchword.layers.normed import Foldable
from patchword.layers.pieces import count_pieces


def split_heads(x: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b h n c"]:
    """Give each of h heads its c = d / h channels."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "b h n c"]) -> Float[Tensor, "b n d"]:
    """Undo `split_heads`."""
    return x.transpose(1, 2).flatten(2)


class Operator(nn.Module):
    """Mixes values by weights that can be worked out from its inputs.

    It is a module so that `patchword.inspection` can hook it and ask for its weights afterwards:
    fused kernels stay, and models pay nothing to be looked into. Its third input is the values
    (b h m e), and its output, where it is linear in them, weights @ values.

    Attributes:
        weights: takes the inputs and returns how much of each of m values went into each of n
            outputs, by head (b h n m).
        linear: whether the output is linear in the values.
    """

    weights: Callable[..., Tensor]
    linear: bool = True


FEW = 1024  # keys, up to which a map of weights is no burden to memory
NARROW = 16  # channels of values, below which it pays to have each row's total beside all of them
SHORT = range(16, 32)  # keys, to which torch's softmax takes four times as long in bfloat16
SURE = (1e-20, 1e20)  # a sum of exponentials between them has lost none that counts


@cache
def products_win() -> bool:
    """Return whether two products and a softmax outrun torch's fused kernel in bfloat16 here.

    They do where a processor multiplies bfloat16 in AVX-512 and has no AMX: forward by up to 2,
    forward and backward by up to 4 (benchmarks/attention.py).
    """
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16")) and not able.get("amx_tile")


class Attend(Operator):
    """softmax(q k' / sqrt(c) + bias) v, without parameters.

    Args:
        drop: dropout of the weights while training.
        scale: what q k' is multiplied by in place of 1 / sqrt(c).
    """

    def __init__(self, drop: float = 0.0, scale: float | None = None) -> None:
        super().__init__()
        self.drop, self.scale, self.products = drop, scale, products_win()

    def forward(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "b h n e"]:
        """Attend from n queries to m keys.

        `bias` broadcasts to (b h n m); a boolean one is True where a query may attend to a key.
        """
        drop = self.drop if self.training else 0.0
        if not self.unfused(q, k, v, bias):
            return F.scaled_dot_product_attention(q, k, v, bias, drop, scale=self.scale)
        if not drop and unshifting(q):
            mixed = self.tried(q, k, v, bias)
            if mixed is not None:
                return mixed
        weights = self.weights(q, k, v, bias)
        return (F.dropout(weights, drop) if drop else weights) @ v

    def tried(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        bias: Tensor | None,
    ) -> Float[Tensor, "b h n e"] | None:
        """Attend by exponentials as they are, which may fail; a few images at a time if large."""
        alike = bias is None or bias.ndim < 4 or len(bias) == 1  # for every image
        taken = q.shape[:-1].numel() * k.shape[-2] * q.element_size()
        pieces = count_pieces(len(q), taken) if alike else 1
        found: list[Tensor] = []
        for own in zip(*(t.chunk(pieces) for t in (q, k, v)), strict=True):
            mixed = unshifted(self.scores(own[0], own[1], bias), own[2])
            if mixed is None:
                return None
            found.append(mixed)
        return found[0] if len(found) == 1 else torch.cat(found)

    def unfused(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> bool:
        """Return whether the weights are best worked out: a matter of speed alone.

        On a CPU torch's fused kernel takes no values wider than the queries and learns no bias.
        """
        if q.device.type != "cpu":
            return False
        learned = bias is not None and bias.requires_grad and torch.is_grad_enabled()
        narrow = self.products and q.dtype == torch.bfloat16 and k.shape[-2] <= FEW
        return learned or narrow or v.shape[-1] != q.shape[-1]

    def weights(
        self,
        q: Float[Tensor, "b h n c"],
        k: Float[Tensor, "b h m c"],
        v: Float[Tensor, "b h m e"],
        bias: Float[Tensor, "..."] | Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "b h n m"]:
        """Work the softmax out."""
        weights = softmax(self.scores(q, k, bias))
        if bias is None or bias.dtype != torch.bool:
            return weights
        return weights.masked_fill(~bias, 0)  # where a query may attend to nothing

    def scores(
        self, q: Float[Tensor, "b h n c"], k: Float[Tensor, "b h m c"], bias: Tensor | None
    ) -> Float[Tensor, "b h n m"]:
        """Work out what the softmax is of; -inf where a query may not attend to a key."""
        q, k = q.contiguous(), k.contiguous()  # a product copies a turned k cell by cell
        scale = q.shape[-1] ** -0.5 if self.scale is None else self.scale
        if unshifting(q):
            pair, none = (q.flatten(0, 1), k.flatten(0, 1).mT), q.new_zeros(1, 1, 1)
            scores = torch.baddbmm(none, *pair, beta=0, alpha=scale).unflatten(0, q.shape[:2])
        else:
            scores = (q * scale) @ k.mT
        if bias is None:
            return scores
        if bias.dtype == torch.bool:
            return scores.masked_fill(~bias, -torch.inf)
        scores += bias.to(scores.dtype)
        return scores


def softmax(scores: Float[Tensor, "b h n m"]) -> Float[Tensor, "b h n m"]:
    """Return shares of the keys; of few in single precision, which vectors of 16 numbers fit."""
    if scores.dtype == torch.bfloat16 and scores.shape[-1] in SHORT:
        return scores.softmax(-1, dtype=torch.float32).bfloat16()
    return scores.softmax(-1)


def unshifting(x: Tensor) -> bool:
    """Return whether exponentials are to be tried as they are: in inference, in bfloat16."""
    return x.dtype == torch.bfloat16 and answering(x)


def within(total: Tensor) -> bool:
    """Return whether sums of exponentials lie in the range in which none is lost that counts."""
    least, most = total.aminmax()
    return bool(SURE[0] < least and most < SURE[1])


def unshifted(
    scores: Float[Tensor, "b h n m"], v: Float[Tensor, "b h m e"]
) -> Float[Tensor, "b h n e"] | None:
    """Return softmax(scores) v by exponentials of the scores as they are.

    A softmax subtracts the largest score of each row first. Torch finds it slowly where rows are
    short: at the 49 keys of a window that is most of the time that a softmax takes in bfloat16.

    Args:
        scores: are overwritten.
        v: the values.

    Returns:
        None if exponentials leave the range in which that is as exact, which scores beyond 46 do.
    """
    shares, channels = scores.exp_(), v.shape[-1]
    wide = channels if channels < NARROW else 1
    total = shares @ shares.new_ones(shares.shape[-1], wide)  # in half the time of a sum
    return (shares @ v) / total if within(total) else None


def with_key(bias: Float[Tensor, " qv"]) -> Float[Tensor, " qkv"]:
    """Put zeros where the keys' part is."""
    q, v = bias.chunk(2)
    return torch.cat([q, torch.zeros_like(q), v])


class KeylessLinear(Foldable, nn.Linear):
    """Queries, keys and values by one map, in which keys have no bias (BEiT, Swin V2)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3 * dim, bias=False)
        self.qv_bias = nn.Parameter(torch.zeros(2 * dim))

    def forward(self, input: Float[Tensor, "... d"]) -> Float[Tensor, "... qkv"]:
        """Map the last axis."""
        return F.linear(input, self.weight, self.whole_bias())

    def whole_bias(self) -> Float[Tensor, " qkv"]:
        """Return the bias of all three."""
        return with_key(self.qv_bias)

    def fused(self) -> nn.Module:
        made = nn.Linear(self.in_features, self.out_features, device="meta")
        made.weight, made.bias = self.weight, nn.Parameter(self.whole_bias().detach())
        return made.train(self.training)


def projected(
    qkv: nn.Linear, x: Float[Tensor, "b n d"], queries: int | None
) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
    """Return queries of the first k tokens, or of all n where it is None, keys and values."""
    if queries is None:
        q, k, v = qkv(x).chunk(3, -1)
        return q, k, v
    dim, weight = x.shape[-1], qkv.weight
    bias = qkv.whole_bias() if isinstance(qkv, KeylessLinear) else qkv.bias
    cut = (None, None) if bias is None else bias.split((dim, 2 * dim))  # pyright: ignore[reportUnnecessaryComparison]
    q = F.linear(x[:, :queries], weight[:dim], cut[0])
    k, v = F.linear(x, weight[dim:], cut[1]).chunk(2, -1)
    return q, k, v


class Attention(TokenMixer):
    """Multi-head self-attention over all tokens (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
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
        q, k, v = (split_heads(t, self.num_heads) for t in projected(self.qkv, x, queries))
        return self.drop(self.proj(merge_heads(self.attend(q, k, v))))
