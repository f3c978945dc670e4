"""Attention maps of a model that runs as it always does, by hooks on its operators."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.features import Backbone
from patchword.heads.classify import Classifier
from patchword.layers import Layout, Mixer, Operator

T = TypeVar("T")


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
        sizes = self.layout.prefix + _count(self.layout.key_grid)
        carried = found.new_zeros(*found.shape[:2], sizes + 1)
        index = keys.where(keys >= 0, sizes).flatten().expand(*found.shape[:2], -1)
        return carried.scatter_add(2, index, found.flatten(2))[..., :sizes]

    def laid(self) -> Float[Tensor, "b heads q k"]:
        """Return the map over the whole image: from each token (prefix, then cells) to each.

        Between tokens of different parts it is 0, and so it is from tokens that asked nothing.
        """
        queries, keys = self.places()
        q, k = (
            self.layout.prefix + _count(grid) for grid in (self.layout.grid, self.layout.key_grid)
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


def _count(grid: tuple[int, ...]) -> int:
    return grid[0] * grid[1]


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

    def keep(name: str, module: Operator, inputs: tuple[Any, ...]) -> None:
        seen[name] = module.weights(*inputs)

    with _hooked(model, keep):
        yield seen


@contextmanager
def watch(model: nn.Module, see: Callable[[str, AttentionMap], None]) -> Generator[None]:
    """Show each attention map to a function as the forward passes inside the block make it.

    Nothing is kept: what `see` does not keep is gone before the next layer runs. Operators whose
    queries or keys are no cells of the image (a pooled sequence, class tokens of all layers,
    visual tokens, convolutions) are not shown.

    Args:
        model: any.
        see: takes the operator's name in the model, and its map.
    """
    inside: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}  # mixers that are running
    mixers = {name: part for name, part in model.named_modules() if isinstance(part, Mixer)}

    def enter(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inside[name] = args, kwargs

        return note

    def show(name: str, module: Operator, inputs: tuple[Any, ...]) -> None:
        owner, _, place = name.rpartition(".")
        if name in inside:
            owner = name
        elif owner not in inside or place != "attend":
            return
        args, kwargs = inside.pop(owner)
        layout = mixers[owner].layout(*args, **kwargs)
        if len(layout.grid) == 2:
            see(name, _placed(module.weights(*inputs), layout, len(args[0])))

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


def _placed(weights: Float[Tensor, "_ _ n m"], layout: Layout, images: int) -> AttentionMap:
    """Take parts out of the axis that they are folded into, and lay keys between cells on them."""
    parts = len(layout.queries)
    axis, sizes = (0, (-1, parts)) if layout.in_batch else (1, (parts, -1))
    weights = weights.unflatten(axis, sizes).expand(images, -1, -1, -1, -1)
    if layout.read is not None:
        weights = weights @ layout.read[:, None].to(weights)
        layout = layout._replace(read=None)
    return AttentionMap(weights, layout)


@contextmanager
def _hooked(
    model: nn.Module, see: Callable[[str, Operator, tuple[Any, ...]], None]
) -> Generator[None]:
    """Call a function with every operator's name, itself and its inputs, after it has run."""

    def hook(name: str) -> Any:
        @torch.no_grad()
        def after(module: Operator, inputs: tuple[Any, ...], _: Tensor) -> None:
            see(name, module, inputs)

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


def backbone_of(model: nn.Module) -> Backbone:
    """Return the part of a model that sees.

    Raises:
        ConfigError: it is neither a backbone nor a classifier.
    """
    if isinstance(model, Classifier):
        return model.backbone
    if isinstance(model, Backbone):
        return model
    raise ConfigError(
        f"a {type(model).__name__} cannot be looked into: give a model of create_model or load, "
        "or its backbone"
    )


@contextmanager
def settled(model: nn.Module) -> Generator[None]:
    """Have a model in evaluation mode inside the block, and every part as it was after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def each_map(
    model: nn.Module, images: Float[Tensor, "b c h w"], reduce: Callable[[AttentionMap], T]
) -> dict[str, T]:
    """Run a model once, all rows of its last block too, and return what is made of each map.

    Args:
        model: a classifier or a backbone; it runs in evaluation mode.
        images: as the model reads them.
        reduce: makes of a map what is kept of it.

    Returns:
        by operator's name in the backbone, in order of depth; empty where nothing attends.
    """
    backbone, kept = backbone_of(model), dict[str, T]()

    def see(name: str, seen: AttentionMap) -> None:
        kept[name] = reduce(seen)

    with settled(backbone), watch(backbone, see):
        backbone(images, taps=("final",))
    return kept


def attention_maps(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> dict[str, Float[Tensor, "b heads q k"]]:
    """Return every map laid out over the image's tokens, prefix tokens first, by operator's name.

    It holds all maps of all images at once: a row is a query, a column a key, a softmax's rows sum
    to 1 less what went to padding. For large images or many, reduce them with `each_map`.
    """
    return each_map(model, images, AttentionMap.laid)


def class_attention(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> dict[str, Float[Tensor, "b heads rows columns"]]:
    """Return how much of each cell goes into the class tokens, by head, in every layer with any.

    The mean over them where the network reads several (class and distillation token). Over the
    cells it sums to 1 less what went to prefix tokens (DINO, figure 1, before normalisation).
    """
    count = backbone_of(model).class_tokens

    def reduce(seen: AttentionMap) -> Tensor | None:
        prefix = seen.layout.prefix
        if not count or prefix < count:
            return None
        return _cells(seen, seen.carried(reader(seen, count)))

    found = each_map(model, images, reduce)
    return {name: cells for name, cells in found.items() if cells is not None}


def looked_at(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b heads rows columns"] | None:
    """Return how much each cell is attended to by the last operator, by each head.

    It is the class tokens' row of the map where the network is read by them, else the mean row of
    the cells, windows and all; each sums to 1 over the cells, weights below 0 taken by their size.
    None comes back where nothing attends, or where what does is no cell of the image.
    """
    count, last = backbone_of(model).class_tokens, list[Tensor]()

    def reduce(seen: AttentionMap) -> None:
        seen = seen._replace(weights=seen.weights.abs())
        cells = _cells(seen, seen.carried(reader(seen, count)))
        last[:] = [cells / cells.sum(dim=(2, 3), keepdim=True)]

    each_map(model, images, reduce)
    return last[0] if last else None


def reader(seen: AttentionMap, class_tokens: int) -> Float[Tensor, "b 1 q"]:
    """Return what an answer is read from, over a map's queries: class tokens, else the cells."""
    prefix, cells = seen.layout.prefix, _count(seen.layout.grid)
    row = seen.weights.new_zeros(prefix + cells)
    if 0 < class_tokens <= prefix:
        row[:class_tokens] = 1 / class_tokens
    else:
        row[prefix:] = 1 / cells
    return row.expand(len(seen.weights), 1, -1)


def _cells(seen: AttentionMap, tokens: Float[Tensor, "b h k"]) -> Float[Tensor, "b h r c"]:
    return tokens[..., seen.layout.prefix :].unflatten(2, seen.layout.key_grid)
