"""A teacher's answers: asked once, and kept for every run that sees the same pictures.

What is done to a picture is a function of (seed, epoch, sample, view), and mixing one of (seed,
epoch, batch): batch n of a training is the same in every run of the same settings, so what a
teacher says of it is, too, through Mixup and CutMix as well. The teacher sees what the student
sees: its augmented pixels, mixed, then resized to the teacher's size and normalised as it expects.
"""

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchword.config import dump
from patchword.data import Batch, Pixels, TrainBatches, apply_mix, draw_mix
from patchword.engine.devices import Precision
from patchword.errors import ConfigError, RunError
from patchword.recipes.recipe import Recipe
from patchword.tasks.distill import Distillation
from patchword.training.store import Store
from patchword.training.teacher import Teacher

LIBRARIES = ("patchword", "torch", "torchvision", "pillow")  # another one may make other pixels
MOST = 1 << 16  # classes that two bytes can number


@dataclass(frozen=True)
class Form:
    """How the answers to a batch are kept, in bytes."""

    rows: int  # pictures
    classes: int
    kind: str  # of Distillation
    top: int | None  # logits that are kept of each; None: all
    dtype: torch.dtype  # of logits

    def __post_init__(self) -> None:
        if self.classes > MOST:
            raise ConfigError(f"{self.classes} classes: a teacher's answers number at most {MOST}")

    @property
    def parts(self) -> tuple[tuple[torch.dtype, tuple[int, ...]], ...]:
        """Return type and shape of each array, in order."""
        if self.kind == "hard":
            return ((torch.uint16, (self.rows,)),)
        if self.top is None or self.top >= self.classes:
            return ((self.dtype, (self.rows, self.classes)),)
        return ((torch.uint16, (self.rows, self.top)), (self.dtype, (self.rows, self.top + 1)))

    @property
    def size(self) -> int:
        """Return the bytes of a batch."""
        return sum(dtype.itemsize * prod(shape) for dtype, shape in self.parts)

    def encode(self, logits: Float[Tensor, "b classes"]) -> bytes:
        """Return what is kept of a batch's logits."""
        if self.kind == "hard":
            arrays = [logits.argmax(dim=1)]
        elif len(self.parts) == 1:
            arrays = [logits]
        else:
            assert self.top is not None
            best, places = logits.topk(self.top, dim=1)
            others = logits.float().scatter(1, places, -torch.inf).logsumexp(dim=1, keepdim=True)
            mean = others - torch.tensor(float(self.classes - self.top)).log()
            arrays = [places, torch.cat([best, mean.to(best.dtype)], dim=1)]
        parts = zip(arrays, self.parts, strict=True)
        return b"".join(raw(array.to(dtype)) for array, (dtype, _) in parts)

    def decode(self, held: bytes) -> Int[Tensor, " b"] | Float[Tensor, "b classes"]:
        """Return classes, or logits; the same as when they were first asked for."""
        arrays: list[Tensor] = []
        for dtype, shape in self.parts:
            size = dtype.itemsize * prod(shape)
            arrays.append(torch.frombuffer(bytearray(held[:size]), dtype=dtype).view(shape))
            held = held[size:]
        if self.kind == "hard":
            return arrays[0].long()
        if len(arrays) == 1:
            return arrays[0]
        best, rest = arrays[1].split([arrays[1].shape[1] - 1, 1], dim=1)
        return rest.repeat(1, self.classes).scatter(1, arrays[0].long(), best)


def raw(tensor: Tensor) -> bytes:
    """Return a tensor's bytes."""
    return tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


class Asked:
    """A teacher's answers to the batches of one training, from the store where they are there.

    Args:
        teacher: who is asked.
        batches: what it is asked about.
        recipe: how they are mixed and cut, and what is wanted, its precision settled.
        pixels: the contract under which the pictures were decoded.
        home: the folder of all that teachers have said.
        device: where the teacher computes.
    """

    def __init__(
        self,
        teacher: Teacher,
        batches: TrainBatches,
        recipe: Recipe,
        *,
        pixels: Pixels,
        home: Path,
        device: torch.device,
    ) -> None:
        assert recipe.distillation is not None
        self.teacher, self.batches, self.recipe, self.device = teacher, batches, recipe, device
        self.how: Distillation = recipe.distillation
        self.precision: Precision = "bf16" if self.how.precision == "bf16" else "fp32"
        self.form = Form(
            rows=batches.batch_size,
            classes=len(batches.source.classes),
            kind=self.how.kind,
            top=self.how.top,
            dtype=torch.bfloat16 if self.precision == "bf16" else torch.float32,
        )
        self.key = {
            "answers": self.how.kind,
            "top": self.how.top,
            **asked_of(teacher, self.precision),
            "data": batches.source.fingerprint(),
            "pixels": dump(pixels),
            "view": dump(batches.frame),
            "augment": dump(batches.augment),
            "mixing": dump(recipe.mixing),
            "batch_size": batches.batch_size,
            "slices": recipe.accumulate,
            "repeats": batches.epochs.repeats,
            "balanced": batches.epochs.balanced,
            "seed": batches.seed,
        }
        self.store = Store(home, self.key, self.form.size)

    @cached_property
    def whole(self) -> tuple[Form, Store] | None:
        """All logits, if soft answers were asked for before: the class is the largest."""
        if self.how.kind != "hard":
            return None
        form = Form(self.form.rows, self.form.classes, "soft", None, self.form.dtype)
        return form, Store(self.store.folder.parent, {**self.key, "answers": "soft"}, form.size)

    def __call__(self, batch: Batch) -> Int[Tensor, " b"] | Float[Tensor, "b classes"]:
        """Return the answers to a batch: read, or else asked for and kept.

        Raises:
            RunError: they cannot be written.
        """
        held = self.store.get(batch.number) if self.how.keep else None
        if held is None:
            held = self.before(batch.number) or self.form.encode(self.ask(batch, self.precision))
            if self.how.keep:
                self.store.put(batch.number, held)
        return self.form.decode(held)

    def before(self, number: int) -> bytes | None:
        """Return classes from logits that were kept before."""
        if self.whole is None or not self.how.keep:
            return None
        form, store = self.whole
        held = store.get(number)
        return None if held is None else self.form.encode(form.decode(held))

    def ask(self, batch: Batch, precision: Precision) -> Float[Tensor, "b classes"]:
        """Show a batch to the teacher, in slices, mixed as the student's is."""
        self.teacher.model.to(self.device)
        pixels = batch.images.to(self.device).float()
        plan = draw_mix(self.recipe.mixing, self.batches.seed, batch.epoch, batch.number)
        if plan is not None:
            pixels, _ = apply_mix(pixels, pixels.new_zeros(len(pixels), 1), plan)
        slices = pixels.chunk(self.recipe.accumulate)
        return torch.cat([self.teacher.answer(part, precision) for part in slices])

    def coming(self, steps: int) -> range:
        """Return the numbers of the batches that so many steps see."""
        replay = self.batches.epochs.replay
        again = replay and replay * self.batches.steps_per_epoch
        return range(min(steps, again) if again else steps)

    def there(self, steps: int) -> int:
        """Count the batches of so many steps whose answers are there already."""
        stores = [self.store, *([self.whole[1]] if self.whole else [])]
        return sum(any(number in store for store in stores) for number in self.coming(steps))

    def words(self, steps: int) -> str:
        """Say what will be asked and kept in so many steps.

        Raises:
            RunError: there is no room for it.
        """
        card, count = self.teacher.card, len(self.coming(steps))
        rows, columns = card.preprocessing.image_size
        parameters = sum(p.numel() for p in self.teacher.model.parameters())
        who = (
            f"{self.teacher.source} ({card.model}, {parameters / 1e6:.2f} M parameters, images "
            f"{rows}x{columns}, {self.precision})"
        )
        if not self.how.keep:
            return f"{who}: asked at every step, nothing is kept"
        there, size = self.there(steps), self.store.size
        missing, room = (count - there) * size, free(self.store.folder)
        if missing > room:
            raise RunError(
                f"the teacher's answers need {megabytes(missing)}, {self.store.folder.parent} has "
                f"room for {megabytes(room)}: name another --cache, or take --settings "
                "distillation.keep=false, distillation.replay=EPOCHS or, of soft answers, "
                "distillation.top=CLASSES"
            )
        what = f"{self.how.kind} answers" + (f" of the top {self.how.top}" if self.how.top else "")
        return (
            f"{who}: {what}, {megabytes(count * size)} in {self.store.folder}, "
            f"{there / count:.0%} of them there already"
        )


def asked_of(teacher: Teacher, precision: Precision) -> dict[str, Any]:
    """Return the part of a key that says who answers, and how it looks at pictures."""
    return {
        "teacher": teacher.digest,
        "columns": teacher.columns,
        "preprocessing": dump(teacher.card.preprocessing),
        "precision": precision,
        "versions": {name: version(name) for name in LIBRARIES},
    }


def cache_folder(named: str | None) -> Path:
    """Return the folder of what teachers said: the named one, or the user's own."""
    if named is not None:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "patchword" / "teachers"


def free(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def megabytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.2f} MB"
