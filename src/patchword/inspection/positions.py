"""What attention adds by position: relative biases, a grid of grids."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchword.inspection.attention import backbone_of, settled
from patchword.inspection.drawn import Biases
from patchword.inspection.watch import Visit, visits
from patchword.layers import Attend


@torch.no_grad()
def relative_biases(model: nn.Module, images: Float[Tensor, "b c h w"]) -> Biases:
    """Return what each head adds to its scores by position: from each cell (first axes) to each.

    In units of scores before the softmax (Swin, equation 4). Of windows it is the bias within the
    first one, seams of shifted windows left aside; prefix tokens are left out. Learned tables,
    log-spaced offsets (Swin V2) and absolute offsets (LeViT) all come out as what is added.

    Args:
        model: a classifier or a backbone.
        images: as the model reads them; what they show plays no part.

    Returns:
        by operator's name; only operators whose queries and keys are the same cells, with biases.
    """
    backbone, found = backbone_of(model), Biases()

    def see(name: str, visit: Visit) -> None:
        bias = visit.inputs[3] if len(visit.inputs) > 3 else None
        if not isinstance(visit.operator, Attend) or not isinstance(bias, Tensor):
            return
        layout = visit.layout
        queries, keys = layout.queries[0] - layout.prefix, layout.keys[0] - layout.prefix
        if layout.in_batch or layout.read is not None or not torch.equal(queries, keys):
            return
        heads = visit.output.shape[1] // len(layout.queries)
        bias = bias.expand(1, visit.output.shape[1], -1, -1) if bias.ndim == 4 else bias[None]
        is_cell, cells = (queries >= 0).to(bias.device), queries[queries >= 0]
        rows = len((cells // layout.grid[1]).unique())
        sides = (rows, len(cells) // rows)
        first = bias[0, :heads][:, is_cell][:, :, is_cell]
        found[name] = first.unflatten(2, sides).unflatten(1, sides)

    with settled(backbone), visits(backbone, see):
        backbone(images, taps=("final",))
    return found
