"""From batches of pixels to what a task reads, on the device that trains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from patchword.data import Batch, Epochs, Frame, Source, TrainBatches, apply_mix, draw_mix
from patchword.data.loader import loader
from patchword.data.mix import neighbours
from patchword.data.scene_batches import SceneBatch, SceneBatches
from patchword.errors import DataError
from patchword.evaluation.answers import reason
from patchword.predictor import Card, normalise
from patchword.recipes.recipe import Recipe
from patchword.tasks.classify import Labelled
from patchword.tasks.distill import Taught
from patchword.training.scenes import LEARNT
from patchword.training.targets import Targets

UNREADABLE = 0.05  # share of the pictures that may be unreadable
FOREVER = 1 << 62


def sizes(recipe: Recipe, frame: Frame, steps: int) -> list[tuple[int, Frame]]:
    """Return the step from which on training pictures have which frame."""
    if not recipe.resolution:
        return [(0, frame)]
    return [
        (round(share * steps), replace(frame, image_size=(side, side)))
        for share, side in recipe.resolution
    ]


Batches = TypeVar("Batches", TrainBatches, SceneBatches)


class Steps(ABC, Generic[Batches]):
    """Each step's micro-batches, from any step on; pictures that cannot be read are gathered."""

    batches: Batches

    def __init__(self) -> None:
        self.unreadable: set[int] = set()

    @abstractmethod
    def __call__(self, start: int) -> Generator[list[Any]]:
        """Yield the micro-batches of step `start`, of the next, and so on.

        Raises:
            DataError: more pictures are unreadable than may be.
        """

    def look(self, batch: Batch | SceneBatch) -> None:
        """Gather the pictures of a batch that could not be read."""
        broken = batch.indices[batch.weights == 0].tolist()
        if not broken:
            return
        source = self.batches.source
        self.unreadable.update(broken)
        if len(self.unreadable) > UNREADABLE * len(source):
            raise DataError(
                f"{len(self.unreadable)} of {len(source)} training pictures cannot be read, more "
                f"than {UNREADABLE:.0%}: {reason(source, broken[0])}; repair or remove them"
            )

    def complaints(self) -> list[str]:
        """Say what is wrong with each picture that could not be read."""
        return [reason(self.batches.source, index) for index in sorted(self.unreadable)]


class Feed(Steps[TrainBatches]):
    """Pictures with labels or values.

    `steps` are those of the whole training; `ask` returns a teacher's answers to a batch, where
    there is one.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        preprocessing: Frame,
        *,
        steps: int,
        seed: int,
        workers: int,
        device: torch.device,
        ask: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.preprocessing, self.ask = recipe, preprocessing, ask
        self.seed, self.workers, self.device = seed, workers, device
        first, *later = sizes(recipe, preprocessing, steps)
        self.batches = TrainBatches(
            source,
            augment=recipe.augment,
            frame=first[1],
            later=later,
            batch_size=recipe.batch_size,
            epochs=Epochs(
                repeats=recipe.repeats,
                balanced=recipe.sampling == "balanced",
                replay=recipe.distillation and recipe.distillation.replay,
            ),
            seed=seed,
        )
        self.targets = Targets(source, recipe)

    def __call__(self, start: int) -> Generator[list[Labelled] | list[Taught]]:
        items = loader(self.batches, start=start, stop=FOREVER, workers=self.workers)
        with closing(items):
            for batch in items:
                self.look(batch)
                yield self.labelled(batch) if self.ask is None else self.taught(batch, self.ask)

    def labelled(self, batch: Batch) -> list[Labelled]:
        """Normalise, smooth and mix a batch, and cut it into the step's slices."""
        images = normalise(batch.images.to(self.device), self.preprocessing)
        targets = self.targets(batch.labels.to(self.device), batch.indices)
        weights = batch.weights.to(self.device)
        plan = draw_mix(self.recipe.mixing, self.seed, batch.epoch, batch.number)
        if plan is not None:
            images, targets = apply_mix(images, targets, plan)
            weights = weights * neighbours(weights)
        slices, targets = self.recipe.accumulate, self.targets.weighed(targets)
        parts = (tensor.chunk(slices) for tensor in (images, targets, weights))
        return [Labelled(*part) for part in zip(*parts, strict=True)]

    def taught(self, batch: Batch, ask: Callable[[Batch], Tensor]) -> list[Taught]:
        """Label a batch, and add what a teacher says of it."""
        answers = ask(batch).to(self.device).chunk(self.recipe.accumulate)
        return [
            Taught(*part, said) for part, said in zip(self.labelled(batch), answers, strict=True)
        ]


class SceneFeed(Steps[SceneBatches]):
    """Pictures with scenes; a step's slices are items of their own, so workers share them."""

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        card: Card,
        *,
        seed: int,
        workers: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        assert recipe.joint is not None
        self.card, self.workers, self.device = card, workers, device
        self.slices = recipe.accumulate
        self.batches = SceneBatches(
            source,
            joint=recipe.joint,
            frame=card.preprocessing,
            batch_size=recipe.batch_size,
            epochs=Epochs(repeats=recipe.repeats),
            seed=seed,
            slices=self.slices,
        )

    def __call__(self, start: int) -> Generator[list[Any]]:
        items = loader(self.batches, start=start * self.slices, stop=FOREVER, workers=self.workers)
        with closing(items):
            while parts := list(islice(items, self.slices)):
                yield [self.learnt(part) for part in parts]

    def learnt(self, batch: SceneBatch) -> Any:
        """Return what the task reads of a batch."""
        self.look(batch)
        images = normalise(batch.images.to(self.device), self.card.preprocessing)
        return LEARNT[self.card.kind].read(images, batch, self.card)
