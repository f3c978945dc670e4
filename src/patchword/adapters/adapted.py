"""What the networks of other libraries have in common once they are under the contract."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from patchword.data.frame import Frame
from patchword.errors import ShapeError
from patchword.features import Backbone
from patchword.weights import POINTWISE, Format, Rule


@dataclass(frozen=True)
class Family:
    """One model, described as a file of the zoo describes its own."""

    VARIANTS: dict[str, Any]  # its full name -> its config
    PREPROCESSING: Frame
    formats: Callable[[], tuple[Format, ...]]  # makes the network to see how it names its tensors

    @cached_property
    def FORMATS(self) -> tuple[Format, ...]:
        """The library's own names of the network's tensors."""
        return self.formats()


class Adapted(Backbone):
    """Another library's network `net`, without its last linear layer.

    Its parts keep the library's names below `net`, and its levels have the library's names.

    Args:
        net: the network.
        config: what it was built from.
        fixed: whether it reads images of one size alone.
    """

    net: Any

    def __init__(self, net: nn.Module, config: Any, *, fixed: bool) -> None:
        super().__init__()
        self.net, self.config, self.fixed = net, config, fixed

    def settle(self, width: int, norm: str | None) -> None:
        """Note the channels of `pooled`, and where in the network its last norm is, if anywhere.

        Heads start as torch's linear layers do.
        """
        self.width, self.head_std = width, (3 * width) ** -0.5
        self.last_norm = norm

    @property
    def norm(self) -> nn.Module:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The library's own last norm; the identity where it has none, or hides it."""
        return nn.Identity() if self.last_norm is None else self.net.get_submodule(self.last_norm)

    def check(self, images: Float[Tensor, "b c h w"]) -> None:
        """Refuse images that the network cannot read.

        Raises:
            ShapeError: the channels are others, or the size, where it is fixed.
        """
        channels, *size = images.shape[1:]
        if channels != self.config.in_chans:
            raise ShapeError(
                f"the images have {channels} channels; this model reads {self.config.in_chans}"
            )
        if self.fixed and tuple(size) != self.config.image_size:
            found, wanted = ("x".join(map(str, s)) for s in (size, self.config.image_size))
            raise ShapeError(f"the images are {found} pixels; {self.config.name} reads {wanted}")

    def spine(self) -> list[nn.Module]:
        """Return the network's parts in the order in which it names them.

        What holds levels is taken apart, and so are sequences. Parameters that belong to no part,
        such as tokens and positions, are with the first one.
        """
        levels = [level.name for level in self.levels]
        parts = [part for part in units(self.net, levels) if any(True for _ in part.parameters())]
        held = {id(parameter) for part in parts for parameter in part.parameters()}
        loose = [p for p in self.net.parameters() if id(p) not in held]
        first = nn.ModuleList([parts[0], nn.ParameterList(loose)])
        return [first, *parts[1:]]


def units(module: nn.Module, levels: Sequence[str], place: str = "") -> Iterator[nn.Module]:
    """Yield a network's children, and theirs in place of sequences and of what holds levels."""
    for name, child in module.named_children():
        inside = f"{place}{name}."
        plain = type(child) in (nn.Sequential, nn.ModuleList)
        if plain or any(level.startswith(inside) for level in levels):
            yield from units(child, levels, inside)
        else:
            yield child


def format_of(library: str, net: nn.Module, classifier: str, *, convolves: bool) -> Format:
    """Return the names that a library gives the tensors of one network and its classifier.

    Args:
        library: its name.
        net: the network, without the classifier.
        classifier: the place of the last linear layer.
        convolves: whether that is a 1x1 convolution.
    """
    view = POINTWISE if convolves else None
    return Format(
        library,
        *(Rule(name, f"net.{name}") for name in beside(net, classifier.split("."))),
        head=(
            Rule(f"{classifier}.weight", "head.label.weight", view),
            Rule(f"{classifier}.bias", "head.label.bias"),
        ),
    )


def beside(net: nn.Module, place: Sequence[str]) -> Iterator[str]:
    """Yield patterns of names that cover all of a network but what is at a place."""
    yield from (name for name, _ in net.named_parameters(recurse=False))
    yield from (name for name, _ in net.named_buffers(recurse=False))
    for name, child in net.named_children():
        if name != place[0]:
            yield f"{name}.*"
        elif len(place) > 1:
            yield from (f"{name}.{inner}" for inner in beside(child, place[1:]))
