"""Attention maps of a model, of one layer and of all, and what they look at."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import prod
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ConfigError
from patchword.features import Backbone
from patchword.heads.classify import Classifier
from patchword.inspection.drawn import Heat, Maps, drawn
from patchword.inspection.watch import AttentionMap, watch

T = TypeVar("T")


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


def attention_maps(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Maps:
    """Return every map laid out over the image's tokens, prefix tokens first, by operator's name.

    Each is `b heads q k`. It holds all maps of all images at once: a row is a query, a column a
    key, a softmax's rows sum to 1 less what went to padding. For large images or many, reduce them
    with `each_map`.
    """
    return Maps(each_map(model, images, AttentionMap.laid))


def class_attention(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Maps:
    """Return how much of each cell goes into the class tokens, by head, in every layer with any.

    Each is `b heads rows columns`: the mean over them where the network reads several (class and
    distillation token). Over the cells it sums to 1 less what went to prefix tokens (DINO, figure
    1, before normalisation).
    """
    count = backbone_of(model).class_tokens

    def reduce(seen: AttentionMap) -> Tensor | None:
        prefix = seen.layout.prefix
        if not count or prefix < count:
            return None
        return _cells(seen, seen.carried(reader(seen, count)))

    found = each_map(model, images, reduce)
    return Maps({name: cells for name, cells in found.items() if cells is not None})


def looked_at(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> Float[Heat, "b heads rows columns"] | None:
    """Return how much each cell is attended to by the last operator, by each head.

    It is the class tokens' row of the map where the network is read by them, else the mean row of
    the cells, windows and all; each sums to 1 over the cells, weights below 0 taken by their size.
    None comes back where nothing attends, or where what does is no cell of the image.
    """
    backbone, last = backbone_of(model), list[Tensor]()
    if not ends_on_cells(backbone):
        return None

    def reduce(seen: AttentionMap) -> None:
        seen = seen._replace(weights=seen.weights.abs())
        cells = _cells(seen, seen.carried(reader(seen, backbone.class_tokens)))
        last[:] = [cells / cells.sum(dim=(2, 3), keepdim=True)]

    each_map(model, images, reduce)
    return drawn(Heat, last[0]) if last else None


def ends_on_cells(backbone: Backbone) -> bool:
    """Return whether a network ends on a grid, or has pooled its tokens to a line or a bag."""
    return backbone.level("final").stride is not None


def reader(seen: AttentionMap, class_tokens: int) -> Float[Tensor, "b 1 q"]:
    """Return what an answer is read from, over a map's queries: class tokens, else the cells."""
    prefix, cells = seen.layout.prefix, prod(seen.layout.grid)
    row = seen.weights.new_zeros(prefix + cells)
    if 0 < class_tokens <= prefix:
        row[:class_tokens] = 1 / class_tokens
    else:
        row[prefix:] = 1 / cells
    return row.expand(len(seen.weights), 1, -1)


def _cells(seen: AttentionMap, tokens: Float[Tensor, "b h k"]) -> Float[Tensor, "b h r c"]:
    return tokens[..., seen.layout.prefix :].unflatten(2, seen.layout.key_grid)
