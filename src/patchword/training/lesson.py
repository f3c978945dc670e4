"""What came of being taught: each head by itself, and how far student and teacher agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from patchword.config import dump
from patchword.data import EvalBatches, Source, loader
from patchword.evaluation.answers import Answers
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import share
from patchword.pages.report import Facts
from patchword.training.answers import asked_of, cache_folder, raw
from patchword.training.choose import Chosen
from patchword.training.settings import Settings
from patchword.training.store import Store
from patchword.training.teacher import Teacher
from patchword.training.worded import summary

BATCH = 64
HEADS = {
    "student": "fused",
    "label": "class token alone",
    "distillation": "distillation token alone",
}


class Head(Subject):
    """A model that is judged by one of its heads alone."""

    def __init__(self, whole: Subject, name: str) -> None:
        super().__init__(whole.model, whole.card)
        self.whole, self.name = whole, name

    def logits(self, source: Source) -> Answers:
        return self.whole.heads(source)[self.name]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is to be said of a split beside the student's scores."""

    heads: Mapping[str, Finding]  # each one's scores, where there are several
    teacher: Score | None = None  # its own accuracy, where there is one
    agreement: Mapping[str, float]  # share of answers, the student's and each head's, that are its

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values: `heads` and `teacher`, where there are such."""
        found: dict[str, Any] = {}
        if self.heads:
            found["heads"] = {name: summary(finding) for name, finding in self.heads.items()}
        if self.teacher is not None:
            found["teacher"] = {
                "top1": self.teacher.value,
                "interval": list(self.teacher.interval or ()),
                "agreement": dict(self.agreement),
            }
        return found


def lesson(
    measure: Protocol, subject: Subject, data: Judged, chosen: Chosen, run: Settings
) -> Lesson:
    """Judge each head by itself, and compare student and heads with the teacher."""
    names = tuple(subject.model.head) if len(subject.model.head) > 1 else ()
    heads = {name: Head(subject, name) for name in names}
    found = {name: measure(head, data) for name, head in heads.items()}
    if chosen.teacher is None:
        return Lesson(heads=found, agreement={})
    answers = subject.answers(data.test)
    said = teacher_labels(chosen.teacher, data.test, chosen, run)[answers.indices]
    hits, count = int((said == answers.labels).sum()), len(said)
    students = {"student": subject, **heads}
    return Lesson(
        heads=found,
        teacher=share(hits, count),
        agreement={
            name: (student.logits(data.test).logits.argmax(dim=1) == said).double().mean().item()
            for name, student in students.items()
        },
    )


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
        "pixels": dump(chosen.card.pixels),
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


def facts(lessons: Mapping[str, Lesson], chosen: Chosen, run: Settings) -> list[Facts]:
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
        for name, head in found.heads.items():
            rows.append((f"{split}: {HEADS[name]}", head.scores[0].words(interval=False)))
        if found.teacher is not None:
            rows.append((f"{split}: the teacher itself", found.teacher.words(interval=False)))
            for name, agreed in found.agreement.items():
                who = HEADS[name] if found.heads else name
                rows.append((f"{split}: agrees with the teacher, {who}", f"{agreed:.2%}"))
    return [Facts(title="Teacher and heads", rows=tuple(rows))] if rows else []
