"""From batches of pixels to what a classification task reads, on the device that trains."""

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.data import Batch, EvalBatches, Frame, Source, TrainBatches, apply_mix, draw_mix
from patchword.data.loader import loader
from patchword.data.mix import neighbours
from patchword.errors import DataError, ImageError
from patchword.predictor import normalise
from patchword.recipes.recipe import Recipe
from patchword.tasks.classify import Labelled
from patchword.training.targets import Targets

UNREADABLE = 0.05  # share of the pictures that may be unreadable
FOREVER = 1 << 62


class Feed:
    """Each step's micro-batches, from any step on; pictures that cannot be read are gathered."""

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        preprocessing: Frame,
        *,
        seed: int,
        workers: int,
        device: torch.device,
    ) -> None:
        self.recipe, self.preprocessing = recipe, preprocessing
        self.seed, self.workers, self.device = seed, workers, device
        self.batches = TrainBatches(
            source,
            augment=recipe.augment,
            frame=preprocessing,
            batch_size=recipe.batch_size,
            repeats=recipe.repeats,
            balanced=recipe.sampling == "balanced",
            seed=seed,
        )
        self.targets = Targets(source, recipe)
        self.unreadable: set[int] = set()

    def __call__(self, start: int) -> Generator[list[Labelled]]:
        """Yield the micro-batches of step `start`, of the next, and so on.

        Raises:
            DataError: more pictures are unreadable than may be.
        """
        items = loader(self.batches, start=start, stop=FOREVER, workers=self.workers)
        with closing(items):
            for batch in items:
                self._look(batch)
                yield self.labelled(batch)

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

    def _look(self, batch: Batch) -> None:
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


def reason(source: Source, index: int) -> str:
    """Say why a picture cannot be read."""
    try:
        source.read(index)
    except ImageError as error:
        return str(error)
    return f"{source.name(index)} could not be read a moment ago"


class Answers(NamedTuple):
    """What a model says of the pictures of a source."""

    logits: Float[Tensor, "n classes"]
    labels: Int[Tensor, " n"]
    indices: Int[Tensor, " n"]  # the pictures' numbers in the source
    unreadable: tuple[str, ...]  # what is wrong with each of the others
    targets: Float[Tensor, "n classes"] | None = None  # where labels do not say all


@torch.inference_mode()
def scores(
    model: nn.Module, source: Source, preprocessing: Frame, *, batch_size: int = 256
) -> Answers:
    """Answer every picture of a source that can be read."""
    where = next(model.parameters()).device
    batches = EvalBatches(source, frame=preprocessing, batch_size=batch_size)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in loader(batches, start=0, stop=len(batches)):
        logits = model(normalise(batch.images.to(where), preprocessing)).float().cpu()
        kept = batch.weights > 0
        found.append((logits[kept], batch.labels[kept], batch.indices[kept]))
    logits, labels, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    unread = sorted(set(range(len(source))) - set(indices.tolist()))
    targets = None if source.targets is None else torch.from_numpy(source.targets)[indices]
    return Answers(logits, labels, indices, tuple(reason(source, i) for i in unread), targets)
