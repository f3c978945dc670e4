"""Self-training: a teacher labels a folder of pictures once, and the student learns them as well.

The teacher sees each picture as it was taught to see pictures, without noise; the noise is the
student's. What it said is kept with what teachers say, and stands in the run directory.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64

from patchword.config import dump
from patchword.data import Data, EvalBatches, Pixels, Source, Targets, loader
from patchword.data.folder import open_pictures
from patchword.data.pseudo import PseudoLabels, Relabelled, as_shares, selected
from patchword.data.source import Joined
from patchword.diagnosis.progress import progress
from patchword.engine.devices import device
from patchword.errors import ConfigError, DataError
from patchword.recipes.recipe import Recipe
from patchword.training.answers import Form, asked_of, cache_folder
from patchword.training.settings import Request
from patchword.training.store import Store
from patchword.training.teacher import Teacher, load_teacher

BATCH = 64
FILE = "pseudo_labels.csv"


@dataclass(frozen=True)
class Labelled:
    """What a teacher said of the pictures of a folder, and which of them are learnt."""

    source: Source
    probabilities: Float[np.ndarray, "n classes"]  # NaN where a picture could not be read
    chosen: Int64[np.ndarray, " m"]
    words: tuple[str, ...]

    def table(self) -> str:
        """Write a row per picture: what it is taken for, how surely, how often it is learnt."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("file", "label", "confidence", "copies"))
        copies = np.bincount(self.chosen, minlength=len(self.source))
        for index, row in enumerate(self.probabilities):
            name, best = self.source.name(index), int(row.argmax())
            known = not np.isnan(row[best])
            label, sure = (self.source.classes[best], f"{row[best]:.6f}") if known else ("", "")
            rows.writerow((name, label, sure, copies[index]))
        return out.getvalue()


def self_taught(
    request: Request, recipe: Recipe, data: Data, pixels: Pixels
) -> tuple[Data, Labelled | None]:
    """Add the pictures of a folder under a teacher's labels, where that is asked for.

    Raises:
        ConfigError: the recipe cannot learn from such labels.
        DataError: there are no pictures, or the teacher is sure of none.
    """
    how = recipe.pseudo_labels
    if request.unlabelled is None or request.teacher is None or how is None:
        return data, None
    train = data.train
    if train.kind not in ("class", "shares"):
        raise ConfigError(f"a teacher labels with classes, the data has {train.kind}")
    if how.kind == "soft" and recipe.class_loss == "binary":
        raise ConfigError("class_loss=binary learns classes: take pseudo_labels.kind=hard")
    if train.kind == "shares" and how.kind == "hard":
        raise ConfigError("the data has shares of classes: take pseudo_labels.kind=soft")
    teacher = load_teacher(request.teacher, train.classes, pixels.channels)
    source = open_pictures(Path(request.unlabelled), train.classes, pixels)
    probabilities = asked_once(teacher, source, request, pixels)
    chosen = selected(probabilities, how, seed=request.views)
    if not len(chosen):
        raise DataError(
            f"the teacher is {how.threshold:.0%} sure of no picture of {request.unlabelled}: lower "
            "pseudo_labels.threshold in --settings"
        )
    rows = probabilities[chosen]
    known = Targets(train.classes, rows.argmax(axis=1))
    soft = how.kind == "soft"
    if soft:
        known = known._replace(kind="shares", targets=rows)
    guessed = Relabelled(source, chosen, known)
    joined = Joined([as_shares(train) if soft else train, guessed])
    words = said(request, teacher, how, chosen, len(source))
    return replace(data, train=joined), Labelled(source, probabilities, chosen, words)


def said(
    request: Request, teacher: Teacher, how: PseudoLabels, chosen: np.ndarray, count: int
) -> tuple[str, ...]:
    """Say who labelled how many pictures of what, and what is learnt of them."""
    own = len(np.unique(chosen))
    balance = {"any": "as they come", "mean": "balanced over the classes"}
    words = balance.get(str(how.per_class), f"{how.per_class} per class")
    return (
        f"the teacher labels {request.unlabelled}: {own:,} of {count:,} pictures are learnt by "
        f"their {how.kind} labels, {len(chosen):,} with copies ({how.threshold:.0%} sure, {words})",
        f"the teacher: {teacher.words}",
    )


def asked_once(
    teacher: Teacher, source: Source, request: Request, pixels: Pixels
) -> Float[np.ndarray, "n classes"]:
    """Return a teacher's probabilities for each picture, NaN for one that cannot be read.

    They are kept batch by batch, so what was asked before an interruption is not asked again.
    """
    form = Form(BATCH, len(source.classes), "soft", None, torch.float32)
    key = {
        "answers": "pictures without labels",
        **asked_of(teacher, "fp32"),
        "data": source.fingerprint(),
        "pixels": dump(pixels),
    }
    store = Store(cache_folder(request.cache), key, form.size)
    batches = EvalBatches(source, frame=teacher.card.preprocessing, batch_size=BATCH)
    missing = [number for number in range(len(batches)) if store.get(number) is None]
    held: dict[int, bytes] = {}
    if missing:
        where = device(request.device)
        teacher.model.to(where)
        with progress() as watch:
            for batch in loader(batches, start=missing[0], stop=len(batches)):
                if batch.number in missing:
                    logits = teacher.answer(batch.images.to(where).float(), "fp32").cpu()
                    logits = logits.masked_fill(batch.weights[:, None] == 0, torch.nan)
                    whole = F.pad(logits, (0, 0, 0, BATCH - len(logits)))
                    held[batch.number] = form.encode(whole)
                    store.put(batch.number, held[batch.number])
                watch("labelling", batch.number + 1, len(batches))
    read = (held.get(number) or store.get(number) for number in range(len(batches)))
    rows = torch.cat([form.decode(found) for found in read if found is not None])
    return rows[: len(source)].softmax(dim=1).numpy()
