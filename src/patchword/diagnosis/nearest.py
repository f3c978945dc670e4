"""The nearest of many pictures, for a few at a time."""

import torch
from jaxtyping import Float32, Int
from torch import Tensor

STRIP = 64  # pictures compared with all others at a time: their likenesses stay in the cache
GROUP = 64  # likenesses of which only the largest is looked at first


def largest(values: Float32[Tensor, "rows n"], count: int) -> Int[Tensor, "rows count"]:
    """Return the places of the largest of each row, the largest first.

    They lie in the `count` groups whose maxima are the largest, or behind the last whole group:
    these are sorted, not the row.

    Args:
        values: the numbers.
        count: how many, n at most.
    """
    rows, n = values.shape
    groups = n // GROUP
    maxima = values[:, : groups * GROUP].unflatten(1, (groups, GROUP)).amax(dim=2)
    best = maxima.topk(min(count, groups), dim=1).indices
    members = (best[:, :, None] * GROUP + torch.arange(GROUP)).flatten(1)
    rest = torch.arange(groups * GROUP, n).expand(rows, -1)
    members = torch.cat([members, rest], dim=1)
    return members.gather(1, values.gather(1, members).topk(count, dim=1).indices)
