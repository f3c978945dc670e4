"""What came of being taught: each head by itself, and how far student and teacher agree."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from patchword.data import EvalBatches, Source, loader
from patchword.evaluation.answers import Answers, scores
from patchword.evaluation.topk import TopK, topk, wilson
from patchword.heads.classify import Classifier
from patchword.pages.report import Facts
from patchword.training.answers import asked_of, cache_folder, raw
from patchword.training.choose import Chosen
from patchword.training.settings import Settings
from patchword.training.store import Store
from patchword.training.teacher import Teacher

BATCH = 64
HEADS = {
    "student": "fused",
    "label": "class token alone",
    "distillation": "distillation token alone",
}


class EachHead(nn.Module):
    """A classifier that returns the logits of all its heads, side by side."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b logits"]:
        """Score images by every head."""
        return torch.cat(list(self.model.heads(images).values()), dim=1)


def by_head(
    model: Classifier, source: Source, chosen: Chosen
) -> tuple[Answers, dict[str, Float[Tensor, "n classes"]]]:
    """Answer the pictures of a source, and return each head's logits where there are several."""
    if len(model.head) == 1:
        return scores(model, source, chosen.card.preprocessing), {}
    found = scores(EachHead(model), source, chosen.card.preprocessing)
    parts = found.logits.chunk(len(model.head), dim=1)
    return found._replace(logits=torch.stack(parts).mean(dim=0)), dict(
        zip(model.head, parts, strict=True)
    )


def lesson(
    answers: Answers, heads: Mapping[str, Tensor], source: Source, chosen: Chosen, run: Settings
) -> dict[str, Any]:
    """Return what is to be said of a split beside the student's scores, as plain values.

    Returns:
        `heads`, where there are several: each one's scores; `teacher`, where there is one: its own
        accuracy and, in `agreement`, the share of the pictures on which the student's answer, and
        each head's, is the teacher's.
    """
    found: dict[str, Any] = {}
    if heads:
        found["heads"] = {name: plain(topk(part, answers.labels)) for name, part in heads.items()}
    if chosen.teacher is not None:
        said = teacher_labels(chosen.teacher, source, chosen, run)[answers.indices]
        hits, count = int((said == answers.labels).sum()), len(said)
        students = {"student": answers.logits, **heads}
        found["teacher"] = {
            "top1": hits / count,
            "interval": list(wilson(hits, count)),
            "agreement": {
                name: (logits.argmax(dim=1) == said).double().mean().item()
                for name, logits in students.items()
            },
        }
    return found


def plain(scored: TopK) -> dict[str, Any]:
    """Return scores as plain values."""
    return {
        "count": scored.count,
        "top1": scored.top1,
        "top5": scored.top5,
        "interval": list(scored.interval),
        "loss": scored.loss,
    }


def teacher_labels(
    teacher: Teacher, source: Source, chosen: Chosen, run: Settings
) -> Int[Tensor, " n"]:
    """Return the class that a teacher names for each picture, framed as it expects; kept, too."""
    how = run.recipe.distillation
    assert how is not None
    precision = "bf16" if how.precision == "bf16" else "fp32"
    key = {
        "answers": "pictures as they are",
        **asked_of(teacher, precision),
        "data": source.fingerprint(),
        "pixels": {"channels": chosen.card.pixels.channels},
    }
    store = Store(cache_folder(run.request.cache), key, 2 * len(source))
    held = store.get(0) if how.keep else None
    if held is None:
        where = torch.device(run.device)
        teacher.model.to(where)
        batches = EvalBatches(source, frame=teacher.card.preprocessing, batch_size=BATCH)
        said = [
            teacher.answer(batch.images.to(where).float(), precision).argmax(dim=1).cpu()
            for batch in loader(batches, start=0, stop=len(batches))
        ]
        held = raw(torch.cat(said).to(torch.uint16))
        if how.keep:
            store.put(0, held)
    return torch.frombuffer(bytearray(held), dtype=torch.uint16).long()


def facts(lessons: Mapping[str, Mapping[str, Any]], chosen: Chosen, run: Settings) -> list[Facts]:
    """Return the report's part on teacher and heads; nothing where there is neither."""
    rows: list[tuple[str, str]] = []
    how, teacher = run.recipe.distillation, chosen.teacher
    if teacher is not None and how is not None:
        card, terms = teacher.card, f"{how.weight:g} of the loss"
        if how.kind == "soft":
            terms += f", temperature {how.temperature:g}, divided by {how.divide_by}"
        size = "x".join(map(str, card.preprocessing.image_size))
        rows += [
            ("teacher", teacher.source),
            ("its network", f"{card.model}, images {size}, {how.precision}"),
            ("its classes", teacher.words),
            ("learnt by", f"{how.kind} distillation, {terms}"),
        ]
    for split, found in lessons.items():
        for name, scored in found.get("heads", {}).items():
            rows.append((f"{split}: {HEADS[name]}", f"{scored['top1']:.2%}"))
        if "teacher" in found:
            rows.append((f"{split}: the teacher itself", f"{found['teacher']['top1']:.2%}"))
            for name, share in found["teacher"]["agreement"].items():
                who = HEADS[name] if "heads" in found else name
                rows.append((f"{split}: agrees with the teacher, {who}", f"{share:.2%}"))
    return [Facts(title="Teacher and heads", rows=tuple(rows))] if rows else []
