"""Linear maps and convolutions as a processor computes them fastest, where nothing is learned.

A product of matrices reads its weights block by block. Torch lays them out so at every call, casts
them at every call where it computes in lower precision, and passes over the result once more for
an activation. Here a weight is cast and laid out once, and the activation is taken in the product.
"""

import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import chain
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.answering import answering
from patchword.layers.depthwise import StridedDepthwise

T = TypeVar("T")
Packed = tuple[Tensor, Tensor | None]
"""A weight as a product reads it, and a bias."""

ACTS: dict[type[nn.Module], str] = {
    nn.GELU: "gelu",
    nn.Hardswish: "hardswish",
    nn.ReLU: "relu",
    nn.SiLU: "swish",
}
TURNS = 5  # in which packed products are timed against plain ones


def packed(module: nn.Module, act: nn.Module | None = None) -> nn.Module:
    """Return a map that packs its weights, an activation after it; any other module as it is."""
    if type(module) is nn.Linear:
        return PackedLinear(module, act)
    if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, StridedDepthwise):
        simple = module.padding_mode == "zeros" and isinstance(module.padding, tuple)
        return PackedConv(module, act) if simple else module
    return module


class Kept(Generic[T]):
    """What was last made of some tensors, until they change or it is wanted otherwise."""

    def __init__(self) -> None:
        self._made: tuple[tuple[object, ...], T] | None = None

    def __reduce__(self) -> tuple[type["Kept[T]"], tuple[()]]:
        return Kept, ()  # a copy makes its own

    def __call__(self, tensors: Iterable[Tensor], how: object, make: Callable[[], T]) -> T:
        """Return what is made of tensors in a way that `how` tells from others."""
        key = (how, *((t.data_ptr(), t.is_inference() or t._version) for t in tensors))
        made = self._made  # read once: threads may share a model
        if made is None or made[0] != key:
            self._made = made = (key, make())
        return made[1]


def own_tensors(own: nn.Linear | nn.Conv2d) -> list[Tensor]:
    """Return the weight and the bias, if there is one."""
    return [own.weight] if own.bias is None else [own.weight, own.bias]


def laid_out(
    own: nn.Linear | nn.Conv2d, dtype: torch.dtype, pack: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Return the weight of a map, cast and packed, and its bias, cast."""
    bias = None if own.bias is None else own.bias.detach().to(dtype)
    return pack(own.weight.detach().to(dtype)), bias


class StandIn(nn.Module):
    """What answers in the place of another module, and has all that this has."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own
        self.train(own.training)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("own"), name)


class KeptAnswer(StandIn):
    """What answers from its parameters alone, which is asked once where there are no gradients."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__(own)
        self.kept = Kept[Tensor]()

    def forward(self, *args: object) -> Tensor:
        """Answer as the other does."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.own(*args)
        how = (args, torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
        tensors = chain(self.own.parameters(), self.own.buffers())
        return self.kept(tensors, how, partial(self.own, *args))


class PackedLinear(nn.Linear):
    """A linear map, and perhaps an activation.

    Args:
        own: the map, whose parameters it takes over.
        act: one of `ACTS`.
    """

    def __init__(self, own: nn.Linear, act: nn.Module | None = None) -> None:
        super().__init__(own.in_features, own.out_features, device="meta")
        self.weight, self.bias = own.weight, own.bias
        self.act, self.kept = act, Kept[Packed]()
        self.train(own.training)

    def forward(self, input: Float[Tensor, "... d"]) -> Float[Tensor, "... e"]:
        """Map the last axis."""
        dtype = dtype_of(input, self.weight)
        if dtype is None or input.ndim < 2:
            found = super().forward(input)
            return found if self.act is None else self.act(found)
        rows = input.numel() // self.in_features
        weight, bias = self.kept(
            own_tensors(self),
            dtype,
            lambda: laid_out(
                self, dtype, lambda w: torch.ops.mkldnn._reorder_linear_weight(w, rows)
            ),
        )
        return torch.ops.mkldnn._linear_pointwise(
            input.to(dtype), weight, bias, *attribute(self.act)
        )


class PackedConv(nn.Conv2d):
    """A convolution, and perhaps an activation, after which channels come last in memory.

    It is packed where they did before.

    Args:
        own: the convolution, whose parameters it takes over.
        act: one of `ACTS`.
    """

    def __init__(self, own: nn.Conv2d, act: nn.Module | None = None) -> None:
        super().__init__(own.in_channels, own.out_channels, 1, device="meta")
        self.kernel_size, self.stride, self.padding = own.kernel_size, own.stride, own.padding
        self.dilation, self.groups = own.dilation, own.groups
        self.weight, self.bias = own.weight, own.bias
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self.act, self.kept = act, Kept[Packed]()
        self.train(own.training)

    def forward(
        self, input: Float[Tensor, "b c h w"], onto: Float[Tensor, "b d H W"] | None = None
    ) -> Float[Tensor, "b d H W"]:
        """Convolve a map.

        Args:
            input: the map.
            onto: a map that is added to what comes out, and the sum cut at 0; a convolution that
                has an activation takes none.
        """
        dtype = dtype_of(input, self.weight)
        if dtype is None or not input.is_contiguous(memory_format=torch.channels_last):
            found = super().forward(input)
            if onto is not None:
                return F.relu(found + onto)
            return found if self.act is None else self.act(found)
        how = (self.padding, self.stride, self.dilation, self.groups)
        weight, bias = self.kept(
            own_tensors(self),
            dtype,
            lambda: laid_out(
                self,
                dtype,
                lambda w: torch.ops.mkldnn._reorder_convolution_weight(w, *how, input.shape),
            ),
        )
        input, convolve = input.to(dtype), torch.ops.mkldnn._convolution_pointwise
        if onto is None or onto.dtype != dtype:  # a sum is as exact as its more exact part
            found = convolve(input, weight, bias, *how, *attribute(self.act))
            return found if onto is None else F.relu(found + onto)
        onto = onto.contiguous(memory_format=torch.channels_last)
        return convolve.binary(input, onto, weight, bias, *how, "add", 1.0, "relu", [], None)


class PackedResidual(nn.Module):
    """relu(shortcut(x) + last(before(x)))."""

    def __init__(self, before: nn.Module, last: PackedConv, shortcut: nn.Module) -> None:
        super().__init__()
        self.before, self.last, self.shortcut = before, last, shortcut
        self.train(last.training)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Add what the branch makes of a map to the map."""
        return self.last(self.before(x), self.shortcut(x))


def dtype_of(input: Tensor, weight: Tensor) -> torch.dtype | None:
    """Return the type in which a packed map is to compute; None where a plain one is to."""
    if not answering(input) or not input.numel() or input.dtype == torch.float64:
        return None
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    else:
        dtype = input.dtype if input.dtype == weight.dtype else None
    return dtype if dtype is not None and packing_wins(dtype) else None


@cache
def packing_wins(dtype: torch.dtype) -> bool:
    """Return whether packed weights outrun plain ones here, which takes 50 ms to find out.

    By 7 to 12 of 100 on an AMD EPYC with AVX-512, in float32 and in bfloat16.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    none = attribute(None)
    x, bias = torch.ones(256, 384, dtype=dtype), torch.ones(1536, dtype=dtype)
    plain = torch.ones(1536, 384, dtype=dtype)
    spent: dict[bool, float] = {}
    try:
        multiply = torch.ops.mkldnn._linear_pointwise
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            laid_out = torch.ops.mkldnn._reorder_linear_weight(plain, len(x))
            for _ in range(TURNS):
                for kind in (False, True):
                    start = time.perf_counter()
                    multiply(x, laid_out, bias, *none) if kind else F.linear(x, plain, bias)
                    took = time.perf_counter() - start
                    spent[kind] = min(took, spent.get(kind, took))
    except (AttributeError, RuntimeError):  # another build of torch
        return False
    return spent[True] < spent[False]


def attribute(act: nn.Module | None) -> tuple[str, list[float], str]:
    """Return how oneDNN is told of an activation after a product."""
    name = "none" if act is None else ACTS[type(act)]
    return name, [], act.approximate if isinstance(act, nn.GELU) else ""
