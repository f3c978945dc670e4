"""Stages of a pyramid."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

from patchword.layers.grid import Grid


class Stage(nn.Module):
    """Blocks at one resolution, and the embedding that leads to it from the map before.

    Args:
        embed: makes tokens of a map, or of images, and says on which grid they lie.
        blocks: each takes tokens and their grid.
        norm: of the tokens as they leave, if there is one.
    """

    def __init__(
        self, embed: nn.Module, blocks: Iterable[nn.Module], norm: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.embed, self.blocks, self.norm = embed, nn.ModuleList(blocks), norm

    def forward(
        self, x: Float[Tensor, "b c h w"], queries: int | None = None
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Return the tokens and their grid.

        Args:
            x: a map.
            queries: go through the last block with the first k tokens alone; with all where it is
                None.
        """
        x, grid = self.embed(x)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, grid)
        x = last(x, grid) if queries is None else last(x, grid, queries)
        return x if self.norm is None else self.norm(x), grid


def in_depth(stages: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the embedding, the blocks and the norm of each stage, in order of depth."""
    parts = [
        (stage.embed, *stage.blocks, stage.norm) for stage in stages if isinstance(stage, Stage)
    ]
    return [part for stage in parts for part in stage if part is not None]
