"""Reading maps, and tables of biases, at points between their cells (DAT, deformable DETR)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.grid import Grid, to_map
from patchword.layers.position import Fitted


def centres(grid: Grid, like: Tensor) -> Float[Tensor, "rows columns 2"]:
    """Return row and column of each cell's centre, where a map's sides are at -1 and 1.

    Args:
        grid: rows, columns.
        like: a tensor of the type and on the device that are wanted.
    """
    sides = [
        (2 * torch.arange(side, dtype=like.dtype, device=like.device) + 1) / side - 1
        for side in grid
    ]
    return torch.stack(torch.meshgrid(sides, indexing="ij"), dim=-1)


def sample(
    maps: Float[Tensor, "b c h w"], points: Float[Tensor, "b k m 2"]
) -> Float[Tensor, "b c k m"]:
    """Read maps at points, bilinearly: the centres of the outermost cells are at -1 and 1."""
    return F.grid_sample(maps.to(points.dtype), points.flip(-1), align_corners=True)


class Points(nn.Module):
    """Find the points to sample: a regular grid, moved by what the queries say (DAT, figure 2b).

    Args:
        dim: channels of a group.
        groups: each moves its points by itself, by the same weights.
        kernel: side of the depthwise convolution.
        stride: cells per point along each axis.
        reach: a point moves up to `reach` / 2 cells along each axis; any way where it is 0; any
            way, but drawn back onto the map by tanh, where it is negative.
    """

    def __init__(self, dim: int, groups: int, kernel: int, stride: int, reach: float) -> None:
        super().__init__()
        self.groups, self.reach = groups, reach
        self.conv = nn.Conv2d(dim, dim, kernel, stride, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, 2, bias=False)

    def forward(self, q: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b g r c 2"]:
        """Return row and column of each point, where a map's sides are at -1 and 1."""
        conv, groups = self.conv, self.groups
        assert conv.bias is not None
        weight, bias = conv.weight.repeat(groups, 1, 1, 1), conv.bias.repeat(groups)
        maps = to_map(q, grid)
        x = F.conv2d(maps, weight, bias, conv.stride, conv.padding, groups=maps.shape[1])
        x = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))  # b rows columns g c
        offset = self.proj(F.gelu(self.norm(x))).permute(0, 3, 1, 2, 4)
        offset = offset.to(torch.promote_types(q.dtype, torch.float32))  # bf16 is off by cells
        rows, columns = offset.shape[2:4]
        if self.reach > 0:
            cell = offset.new_tensor([1 / rows, 1 / columns])
            offset = self.reach * cell * offset.tanh()
        points = offset + centres((rows, columns), offset)
        return points.tanh() if self.reach < 0 else points


class SampledBias(Fitted):
    """A table of biases by the offset between query and key, read at any offset (DAT, eq. 8)."""

    def __init__(self, grid: Grid, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(num_heads, *(2 * side - 1 for side in grid)))
        nn.init.trunc_normal_(self.table, std=0.01)

    def forward(self, grid: Grid, points: Float[Tensor, "b g m 2"]) -> Float[Tensor, "b h n m"]:
        """Return the bias of every cell's query to every point, by head."""
        batch, groups, count = points.shape[:3]
        cells = centres(grid, points).flatten(0, 1)
        offsets = (cells[:, None] - points[:, :, None]) / 2  # b g n m 2
        table = self.at(grid).unflatten(0, (groups, -1)).expand(batch, -1, -1, -1, -1)
        found = sample(table.flatten(0, 1), offsets.flatten(0, 1))
        return found.view(batch, -1, len(cells), count)

    def at(self, grid: Grid) -> Float[Tensor, "heads h w"]:
        """Return the table, resampled for another map (bicubic, as DAT's code)."""
        sides = tuple(2 * side - 1 for side in grid)
        if tuple(self.table.shape[1:]) == sides:
            return self.table
        return F.interpolate(self.table[None], sides, mode="bicubic")[0]

    @torch.no_grad()
    def refit(self, old: Fitted) -> str:
        """Resample the other's table to this one's map."""
        if not isinstance(old, SampledBias) or old.table.shape == self.table.shape:
            return ""
        was, now = (tuple((side + 1) // 2 for side in t.shape[1:]) for t in (old.table, self.table))
        self.table.copy_(old.at(now))
        size = "x".join
        return (
            f"sampled biases resampled from maps of {size(map(str, was))} to "
            f"{size(map(str, now))} cells (bicubic)"
        )
