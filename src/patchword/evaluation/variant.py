"""Variants: other pictures of some of a model's classes, as ImageNet-V2, -R, -A, Sketch, ObjectNet.

Paper      Recht et al. 2019, arXiv:1902.10811; Hendrycks et al. 2021, arXiv:2006.16241 and
           arXiv:1907.07174; Wang et al. 2019, arXiv:1905.13549; Barbu et al. 2019, NeurIPS
Reference  github.com/hendrycks/imagenet-r, eval.py: the answer is sought among the classes that
           the variant has
Departures none; the maps of classes are the user's, who has the data: by default a folder has a
           class's name (as the model says it, mostly a WordNet number) or its number
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from patchword.errors import ConfigError, DataError
from patchword.evaluation.protocol import Finding, Judged, Protocol, Subject
from patchword.evaluation.topk import share
from patchword.predictor import Card


@dataclass(frozen=True, kw_only=True)
class Variant(Protocol):
    """Top-1 where a folder of the data stands for one or several of the model's classes."""

    classes: str = ""  # JSON: from folder names to class names or numbers, or lists of them
    among: bool = True  # seek the answer among the classes that the data has, else among all

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers."""
        table = self._table(data.test.classes, subject.card)
        found = subject.logits(data.test)
        mapped = [bool(table[label]) for label in found.labels.tolist()]
        kept = torch.tensor(mapped, dtype=torch.bool)
        logits, labels = found.logits[kept], found.labels[kept].tolist()
        if self.among:
            hidden = torch.ones(logits.shape[1], dtype=torch.bool)
            hidden[[number for numbers in table for number in numbers]] = False
            logits = logits.masked_fill(hidden, -torch.inf)
        answers = logits.argmax(dim=1).tolist()
        hits = sum(a in table[label] for a, label in zip(answers, labels, strict=True))
        count = len(labels)
        absent = [name for name, t in zip(data.test.classes, table, strict=True) if not t]
        few = f"{len(absent)} classes are not in the map and are left out: {', '.join(absent[:5])}"
        return Finding(
            data=data.name,
            split=data.split,
            count=count,
            scores=(share(hits, count),),
            notes=(few,) if absent else (),
            unreadable=found.unreadable,
        )

    def _table(self, folders: tuple[str, ...], card: Card) -> list[list[int]]:
        """Return the numbers of the model's classes that each folder stands for."""
        names = {name: number for number, name in enumerate(card.classes or ())}
        numbers = {str(number): number for number in range(card.num_classes)}
        known = {**numbers, **names}
        stands = _read(self.classes) if self.classes else {folder: folder for folder in folders}
        table: list[list[int]] = []
        for folder in folders:
            found = stands.get(folder, [])
            words = [str(w) for w in (found if isinstance(found, list) else [found])]
            strange = [word for word in words if word not in known]
            if strange:
                raise DataError(
                    f"the model has no class {strange[0]!r}, of the folder {folder!r}: map folders "
                    "to its classes in a JSON file, --settings classes=FILE"
                )
            table.append([known[word] for word in words])
        if not any(table):
            raise DataError(f"{self.classes} maps none of the folders: {', '.join(folders[:5])}")
        return table


def _read(file: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no JSON object from folders to classes")
    return found


PROTOCOL = Variant()
