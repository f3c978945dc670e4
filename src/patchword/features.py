"""The one contract of every image encoder: what goes in, what comes out, what can be tapped.

A head reads `levels`, chooses the ones that it needs by name, and sizes itself from them. The
forward pass then computes what was asked for, and returns one type whatever that was:

    features = backbone(images, taps=("blocks.5", "final"))
    features.pooled          # (b, width): one vector per image
    features.taps[0].map     # (b, channels, rows, columns): the grid's tokens as a map
    features.taps[0].prefix  # (b, prefix, channels): class, distillation and register tokens
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from patchword.errors import ConfigError, suggest
from patchword.layers.grid import Grid, to_map


@dataclass(frozen=True)
class Level:
    """A place in an encoder where features can be tapped."""

    name: str
    channels: int
    stride: Grid | None  # input pixels per cell along each axis; None: no grid is left here
    prefix: int = 0  # tokens that stand before the grid's


def block_levels(
    depth: int, dim: int, stride: Grid | None, prefix: int = 0, *, since: int = 0
) -> tuple[Level, ...]:
    """Return the levels of a network of so many blocks, all of one width, on one grid.

    Args:
        depth: blocks.
        dim: channels of a token.
        stride: of the grid.
        prefix: tokens before the grid's.
        since: the first block that has them.
    """
    blocks = (Level(f"blocks.{i}", dim, stride, prefix * (i >= since)) for i in range(depth))
    return (*blocks, Level("final", dim, stride, prefix))


def stage_levels(
    dims: Sequence[int], strides: Iterable[int], prefix: Sequence[int] = ()
) -> tuple[Level, ...]:
    """Return the levels of stages of these channels, and pixels along the side of a cell.

    Args:
        dims: channels of each stage.
        strides: pixels along the side of a cell of each.
        prefix: tokens before the grid's, of the last stages; the others have none.
    """
    counts = (*[0] * (len(dims) - len(prefix)), *prefix)
    rows = enumerate(zip(dims, strides, counts, strict=True))
    levels = [Level(f"stages.{i}", dim, (step, step), count) for i, (dim, step, count) in rows]
    return (*levels, replace(levels[-1], name="final"))


class Tap(NamedTuple):
    """What an encoder holds at one level."""

    map: Float[Tensor, "b c ..."]  # the grid's cells; (b c n) where the level has no grid
    prefix: Float[Tensor, "b p c"]  # tokens that stand before the grid's; p may be 0
    source: Tensor | None = None  # what the network itself goes on with: gradients are taken at it


class Features(NamedTuple):
    """What an encoder saw."""

    pooled: Float[Tensor, "b d"]  # what classifiers read; d is the backbone's `width`
    taps: tuple[Tap, ...]  # one per level that was asked for, in that order


class Backbone(nn.Module, ABC):
    """Images in, `Features` out.

    Attributes:
        config: the frozen dataclass it was built from; `config.build()` makes another.
        levels: every place that can be tapped, in order of depth: the blocks or stages as
            they leave, and last `final`, after the last norm.
        width: channels of `Features.pooled`.
        readouts: names of the equal parts of `pooled` that have a head each; one, but for
            networks with a distillation token.
        class_tokens: how many of the first prefix tokens of `final` `pooled` is read from; at 0 it
            is a mean over cells.
        head_std: deviation of the weights of a fresh linear head; at 0 all scores start equal.
        norm: the last norm, between the last block and `final`. DINO's probe and others that
            read earlier levels of the same width through it apply it themselves.
        multiple: pixels of which the sides of images are multiples; 1 where any sides are read.
            Who takes images as they come pads them to it, as dense models do.
        silent: patterns of parameters that `pooled` does not depend on, by the paper's own
            design, as in "blocks.11.mlp.*". They get no gradient where only it is asked for.
    """

    config: Any
    levels: tuple[Level, ...]
    width: int
    readouts: tuple[str, ...] = ("label",)
    class_tokens: int = 0
    head_std: float = 0.0
    norm: nn.Module
    multiple: int = 1
    silent: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, images: Float[Tensor, "b c *grid"], taps: Sequence[str] = ()) -> Features:
        """Encode images, normalised as the weights expect.

        Args:
            images: b images (or clips) of c channels.
            taps: names of levels, in any order.

        Raises:
            ShapeError: the sides of the images do not fit the network.
            ConfigError: no level has such a name.
        """

    @abstractmethod
    def spine(self) -> list[nn.Module]:
        """Return the parts in order of depth, the stem first, each parameter in one of them.

        Layer-wise rates, freezing, activation checkpointing and sharding are made from it.
        """

    def pyramid(self) -> tuple[str, ...]:
        """Name the four levels that dense heads start from: the stages, or even quarters."""
        names = [level.name for level in self.levels if level.name != "final"]
        count = len(names)
        picked = range(count) if count <= 4 else [count * k // 4 - 1 for k in (1, 2, 3, 4)]
        return tuple(names[i] for i in picked)

    def level(self, name: str) -> Level:
        """Look a level up by its name."""
        for level in self.levels:
            if level.name == name:
                return level
        names = [level.name for level in self.levels]
        raise ConfigError(f"{type(self).__name__} has no level {name!r}; {suggest(name, names)}")


class Trace:
    """What is kept of one forward pass: the levels that were asked for, as they go by.

    Args:
        backbone: whose levels they are.
        taps: their names.

    Raises:
        ConfigError: no level has such a name.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[str]) -> None:
        for name in taps:
            backbone.level(name)
        self.taps = tuple(taps)
        self.seen: dict[str, Tap] = {}

    def tokens(self, name: str, x: Float[Tensor, "b n c"], grid: Grid) -> None:
        """Pass a level as tokens: the grid's, row by row, after any prefix tokens."""
        if name in self.taps:
            self.seen[name] = Tap(to_map(x, grid), x[:, : x.shape[1] - prod(grid)], x)

    def map(self, name: str, x: Float[Tensor, "b c ..."]) -> None:
        """Pass a level as a map, without prefix tokens."""
        if name in self.taps:
            self.seen[name] = Tap(x, x.new_empty(len(x), 0, x.shape[1]), x)

    def stages(
        self, stages: Iterable[nn.Module], x: Float[Tensor, "b c h w"], queries: int | None = None
    ) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Lead images through stages, each of which makes tokens of the map before, and pass all.

        Args:
            stages: map to tokens and grid.
            x: the images.
            queries: what the last stage is told to answer for, as in `layers.Stage`.

        Returns:
            the last stage's tokens, and their grid.
        """
        *lower, last = stages
        for i, stage in enumerate(lower):
            tokens, grid = stage(x)
            self.tokens(f"stages.{i}", tokens, grid)
            x = to_map(tokens, grid)
        tokens, grid = last(x) if queries is None else last(x, queries)
        self.tokens(f"stages.{len(lower)}", tokens, grid)
        return tokens, grid

    def features(self, pooled: Float[Tensor, "b d"]) -> Features:
        """Return what was asked for, in the order in which it was."""
        return Features(pooled, tuple(self.seen[name] for name in self.taps))
