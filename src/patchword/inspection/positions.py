"""What attention adds by position: relative biases, a grid of grids."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.inspection.attention import AttentionMap, backbone_of, settled, watch
from patchword.layers import Attend


@torch.no_grad()
def relative_biases(
    model: nn.Module, images: Float[Tensor, "b c h w"]
) -> dict[str, Float[Tensor, "heads rows columns rows columns"]]:
    """Return what each head adds to its scores by position: from each cell (first axes) to each.

    In units of scores before the softmax (Swin, equation 4). Of windows it is the bias within the
    first one, seams of shifted windows left aside; prefix tokens are left out. Learned tables,
    log-spaced offsets (Swin V2) and absolute offsets (LeViT) all come out as what is added.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them; what they show plays no part but in sampled biases.

    Returns:
        by operator's name; only operators whose queries and keys are the same cells, with biases.
    """
    backbone = backbone_of(model)
    added: dict[str, Tensor] = {}
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs) > 3 and isinstance(inputs[3], Tensor) and inputs[3].dtype != torch.bool:
                added[name] = inputs[3]

        return note

    def see(name: str, seen: AttentionMap) -> None:
        if name in added and (first := _first_window(added.pop(name), seen)) is not None:
            found[name] = first

    handles = [
        module.register_forward_pre_hook(hook(name))
        for name, module in backbone.named_modules()
        if isinstance(module, Attend)
    ]
    try:
        with settled(backbone), watch(backbone, see):
            backbone(images, taps=("final",))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _first_window(
    bias: Tensor, seen: AttentionMap
) -> Float[Tensor, "heads rows columns rows columns"] | None:
    """Return the bias between the cells of the first window, where queries and keys are these."""
    layout = seen.layout
    queries, keys = (places[0] - layout.prefix for places in seen.places())
    if layout.in_batch or not torch.equal(queries, keys):
        return None
    cells = queries[queries >= 0]
    rows = (cells // layout.grid[1]).unique()
    bias = bias[(None,) * (4 - bias.ndim)].expand(-1, seen.weights.shape[1] * seen.heads, -1, -1)
    first = bias[0, : seen.heads][:, queries >= 0][:, :, queries >= 0]
    sides = (len(rows), len(cells) // len(rows))
    return first.unflatten(2, sides).unflatten(1, sides)
