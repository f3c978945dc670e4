"""Attention as it runs: hooks on operators, and what they mixed laid on the image's cells."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.layers import Layout, Mixer, Operator


class AttentionMap(NamedTuple):
    """What one operator mixed, and where its queries and keys lie on the image.

    Windows, stripes and the like stay apart as they were computed, so that a large map of many
    windows costs no more to look at than it did to make; `laid` lays them out.
    """

    weights: Float[Tensor, "b parts heads n m"]  # of m keys in n outputs; 0 to 1 after a softmax
    layout: Layout

    def carried(self, row: Float[Tensor, "b _ q"]) -> Float[Tensor, "b heads k"]:
        """Return a row vector times the map: where what some queries hold has come from.

        Args:
            row: how much of each of the q tokens (prefix, then cells) is asked for; one of a
                single head stands for all.
        """
        queries, keys = self.places()
        asked = torch.cat([row, row.new_zeros(*row.shape[:2], 1)], dim=2)[:, :, queries]
        found = torch.einsum("bhpn,bphnm->bhpm", asked.expand(-1, self.heads, -1, -1), self.weights)
        sizes = self.layout.prefix + prod(self.layout.key_grid)
        carried = found.new_zeros(*found.shape[:2], sizes + 1)
        index = keys.where(keys >= 0, sizes).flatten().expand(*found.shape[:2], -1)
        return carried.scatter_add(2, index, found.flatten(2))[..., :sizes]

    def laid(self) -> Float[Tensor, "b heads q k"]:
        """Return the map over the whole image: from each token (prefix, then cells) to each.

        Between tokens of different parts it is 0, and so it is from tokens that asked nothing.
        """
        queries, keys = self.places()
        q, k = (
            self.layout.prefix + prod(grid) for grid in (self.layout.grid, self.layout.key_grid)
        )
        rows = queries.where(queries >= 0, q)[:, :, None]
        index = rows * (k + 1) + keys.where(keys >= 0, k)[:, None]  # parts n m
        flat = self.weights.transpose(1, 2).flatten(2)
        laid = flat.new_zeros(*flat.shape[:2], (q + 1) * (k + 1))
        laid = laid.scatter_add(2, index.flatten().expand_as(flat), flat)
        return laid.unflatten(2, (q + 1, k + 1))[:, :, :q, :k]

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return self.weights.shape[2]

    def places(self) -> tuple[Int[Tensor, "parts n"], Int[Tensor, "parts m"]]:
        """Return which tokens queries and keys are, where the weights are."""
        device = self.weights.device
        return self.layout.queries.to(device), self.layout.keys.to(device)


@contextmanager
def record(model: nn.Module) -> Generator[dict[str, Float[Tensor, "b h n m"]]]:
    """Gather every attention map of the forward passes inside the block, by module name.

    >>> with record(model) as seen:
    ...     model(images)
    >>> seen["backbone.blocks.10.attn.attend"].shape  # (images, heads, queries, keys)

    They are as the operators have them: windows may be folded into the axis of heads. `watch` says
    where they lie. The last block of a network that is read by its class token computes that
    token's row alone; tap `final` to have all rows.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: Operator, inputs: tuple[Any, ...], _: Tensor) -> None:
        seen[name] = module.weights(*inputs)

    with _hooked(model, keep):
        yield seen


class Visit(NamedTuple):
    """One call of an operator between cells of images, after it has run."""

    operator: Operator
    inputs: tuple[Any, ...]  # its own; the third is the values
    output: Tensor
    layout: Layout
    images: int

    def placed(self, weights: Float[Tensor, "_ _ n m"]) -> AttentionMap:
        """Take parts out of the axis that they are folded into, keys between cells onto them."""
        layout, parts = self.layout, len(self.layout.queries)
        axis, sizes = (0, (-1, parts)) if layout.in_batch else (1, (parts, -1))
        weights = weights.unflatten(axis, sizes).expand(self.images, -1, -1, -1, -1)
        if layout.read is not None:
            weights = weights @ layout.read[:, None].to(weights)
            layout = layout._replace(read=None)
        return AttentionMap(weights, layout)


@contextmanager
def visits(model: nn.Module, see: Callable[[str, Visit], None]) -> Generator[None]:
    """Tell a function of each operator that runs inside the block, and where its tokens lie.

    Operators whose queries or keys are no cells of the image (a pooled sequence, class tokens of
    all layers, visual tokens) and convolutions are passed over.

    Args:
        model: any.
        see: takes the operator's name in the model, and the call; no gradients are recorded in it.
    """
    inside: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}  # mixers that are running
    mixers = {name: part for name, part in model.named_modules() if isinstance(part, Mixer)}

    def enter(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inside[name] = args, kwargs

        return note

    def show(name: str, operator: Operator, inputs: tuple[Any, ...], output: Tensor) -> None:
        owner, _, place = name.rpartition(".")
        if name in inside:
            owner = name
        elif owner not in inside or place != "attend":
            return
        args, kwargs = inside.pop(owner)
        layout = mixers[owner].layout(*args, **kwargs)
        if len(layout.grid) == 2:
            see(name, Visit(operator, inputs, output, layout, len(args[0])))

    handles = [
        part.register_forward_pre_hook(enter(name), with_kwargs=True)
        for name, part in mixers.items()
    ]
    try:
        with _hooked(model, show):
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watch(model: nn.Module, see: Callable[[str, AttentionMap], None]) -> Generator[None]:
    """Show each attention map to a function as the forward passes inside the block make it.

    Nothing is kept: what `see` does not keep is gone before the next layer runs.

    Args:
        model: any.
        see: takes the operator's name in the model, and its map.
    """

    def show(name: str, visit: Visit) -> None:
        see(name, visit.placed(visit.operator.weights(*visit.inputs)))

    with visits(model, show):
        yield


@contextmanager
def _hooked(
    model: nn.Module, see: Callable[[str, Operator, tuple[Any, ...], Tensor], None]
) -> Generator[None]:
    """Call a function with every operator's name, itself, its inputs and output, as it has run."""

    def hook(name: str) -> Any:
        @torch.no_grad()
        def after(module: Operator, inputs: tuple[Any, ...], output: Tensor) -> None:
            see(name, module, inputs, output)

        return after

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, Operator)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
