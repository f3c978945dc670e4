"""ReaL: several labels per picture, of which an answer may be any.

Paper      Beyer et al. 2020, "Are we done with ImageNet?", arXiv:2006.07159
Reference  github.com/google-research/reassessed-imagenet: `real.json`, a list of label sets in the
           order of ImageNet's validation files; pictures whose set is empty are not scored
Departures a JSON object from file names to label sets is read too, for other data
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from patchword.errors import ConfigError, DataError
from patchword.evaluation.protocol import Finding, Judged, Protocol, Score, Subject
from patchword.evaluation.topk import share


@dataclass(frozen=True, kw_only=True)
class RealLabels(Protocol):
    """Share of pictures whose answer, or one of the first five, is among their labels."""

    labels: str = ""  # the JSON file; labels are the model's class numbers

    def __call__(self, subject: Subject, data: Judged) -> Finding:
        """Score the model's own answers."""
        sets = self._read()
        answers = subject.answers(data.test)
        ranked = answers.logits.topk(min(5, answers.logits.shape[1]), dim=1).indices
        names = [PurePosixPath(data.test.name(i)).name for i in answers.indices.tolist()]
        missing = [name for name in names if name not in sets]
        if missing:
            raise DataError(f"{self.labels} has no labels of {missing[0]} of {data.name}")
        scored = torch.tensor([bool(sets[name]) for name in names])
        right = torch.tensor(
            [[a in sets[n] for a in row] for n, row in zip(names, ranked.tolist(), strict=True)]
        )[scored]
        count = len(right)
        if not count:
            raise DataError(f"{self.labels} has no labels for any picture of {data.name}")
        hits = int(right[:, 0].sum())
        top5 = right.any(dim=1).double().mean().item()
        left_out = len(names) - count
        return Finding(
            data=data.name,
            split=data.split,
            count=count,
            scores=(
                share(hits, count),
                Score(name="top-5", value=top5),
            ),
            notes=(f"{left_out:,} pictures have no label and are not scored",) if left_out else (),
            unreadable=answers.unreadable,
        )

    def _read(self) -> dict[str, list[int]]:
        if not self.labels:
            raise ConfigError("say where the labels are: --settings labels=real.json")
        try:
            found: Any = json.loads(Path(self.labels).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.labels} cannot be read as JSON: {error}") from None
        if isinstance(found, list):
            return {f"ILSVRC2012_val_{i:08d}.JPEG": row for i, row in enumerate(found, start=1)}
        if not isinstance(found, dict):
            raise ConfigError(f"{self.labels} holds no list and no object of label sets")
        return found


PROTOCOL = RealLabels()
