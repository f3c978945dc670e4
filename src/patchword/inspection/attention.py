"""Attention maps of a model that runs as it always does, by hooks on its operators."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from patchword.features import Backbone
from patchword.layers import Operator


@contextmanager
def record(model: nn.Module) -> Generator[dict[str, Float[Tensor, "b h n m"]]]:
    """Gather every attention map of the forward passes inside the block, by module name.

    >>> with record(model) as seen:
    ...     model(images)
    >>> seen["backbone.blocks.10.attn.attend"].shape  # (images, heads, queries, keys)

    The last block of a network that is read by its class token computes that token's row alone;
    tap `final` to have all rows.
    """
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: Operator, inputs: tuple[Any, ...], output: Tensor) -> None:
            seen[name] = module.weights(*inputs).detach()

        return keep

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, Operator)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def looked_at(
    backbone: Backbone, images: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b heads rows columns"] | None:
    """Return how much each cell is attended to in the last block, by each head.

    It is the class token's row of the map where there is a class token, else the mean row of the
    cells; each sums to 1 over the cells. None comes back where the last map is not one of all
    cells, as in windows or where keys are pooled, and where nothing attends.
    """
    with record(backbone) as seen:
        tap = backbone(images, taps=("final",)).taps[0]
    if not seen:
        return None
    weights = list(seen.values())[-1]
    grid, prefix = tap.map.shape[2:], tap.prefix.shape[1]
    if weights.shape[0] != len(images) or weights.shape[-1] != prefix + grid.numel():
        return None
    rows = weights[:, :, :1] if prefix else weights
    cells = rows.mean(dim=2)[..., prefix:]
    cells = cells / cells.sum(dim=-1, keepdim=True)
    return cells.unflatten(-1, grid)
