"""The check-up: look at a data set, list what is wrong, and write it down elsewhere."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from patchword.checkpoints import load
from patchword.data import Data, EvalBatches, Pixels, SplitCensus, open_data, split_census
from patchword.data.loader import loader
from patchword.data.quarantine import HEADING, write_quarantine
from patchword.data.scenes import KINDS
from patchword.diagnosis import duplicates
from patchword.diagnosis.examine import Examined, Watch, enough, examine
from patchword.diagnosis.findings import (
    Finding,
    Remark,
    of_classes,
    of_pictures,
    pictures_of,
    quarantined,
)
from patchword.diagnosis.labels import TRUSTED, Suspects, suspects
from patchword.engine.devices import device as named_device
from patchword.errors import DataError
from patchword.factory import as_classifier
from patchword.files import replacing
from patchword.predictor import normalise

UNJUDGED = {  # kind of what is known -> why no label is called wrong
    "labels": "not looked for: pictures with several labels have no single one to be wrong",
    "shares": "not looked for: shares of classes are no label to be wrong",
    "values": "not looked for: values are no labels",
    **{kind: "not looked for: scenes have no single label to be wrong" for kind in KINDS},
}
UNLABELLED = "not looked for: the pictures have no classes, or one and the same"
OMITTED = {  # kind of what is known -> which findings make no sense there
    "shares": ("a picture counts to the class of its largest share",),
    "values": ("classes are not compared between splits: values have none",),
}
WIDTH = 64  # principal axes of the small copies that labels are judged by


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found in a data set; a page, two tables and a terminal show it."""

    examined: Examined
    census: dict[str, SplitCensus]  # of each split that there is
    findings: tuple[Finding, ...]
    remarks: tuple[Remark, ...]
    groups: tuple[duplicates.Group, ...]
    labels: str  # how wrong labels were looked for, or why not
    omitted: tuple[str, ...]  # what makes no sense of such data, and was left out
    quarantine: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many pictures each kind of finding is about."""
        return Counter(finding.kind for finding in self.findings)

    @property
    def sound(self) -> bool:
        """Whether nothing has to be left out or put right before a training."""
        return not self.quarantine and all(remark.kind != "stray" for remark in self.remarks)


def checkup(
    data: str | Path,
    *,
    columns: Sequence[str] = (),
    run: Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> Checkup:
    """Look at every picture of a data set; write nothing.

    Args:
        data: whatever `open_data` opens.
        columns: of a list or a table, as ROLE=NAME.
        run: a trained model, by whose features wrong labels are looked for; by the pictures'
            small copies if not said, where these tell the classes apart.
        workers: processes that decode.
        device: that the model runs on.
        watch: is told how far it is.

    Raises:
        DataError: there is no data that is understood, or nothing in it can be read.
    """
    fast = find_spec("simplejpeg") is not None  # it gives the same pixels
    opened = _opened(data, columns, Pixels(decoder="simplejpeg" if fast else "pillow"))
    examined = examine(opened, workers=workers, watch=watch)
    rows = _showing(examined, data)
    same = duplicates.exact(examined)
    groups = (*same, *duplicates.near(examined, same, watch=watch))
    rows = rows[np.isin(examined.labels[rows], opened.train.labels)]  # strays are told apart
    found, words = None, UNJUDGED.get(opened.train.kind, UNLABELLED)
    if opened.train.kind == "class" and len(opened.train.classes) > 1:
        if run is None:
            vectors, by = _small_copies(examined, rows), "the pictures themselves, made small"
        else:
            every = _features(partial(_opened, data, columns), run, workers, device)
            vectors, by = every[torch.from_numpy(rows)], f"features of {run}"
        found = suspects(vectors, examined.labels[rows], len(opened.train.classes))
        words = _said(found, by, model=run is not None)
    findings = of_pictures(examined, groups, found, rows)
    return Checkup(
        examined=examined,
        census=_census(examined),
        findings=tuple(findings),
        remarks=tuple(of_classes(examined.sources, pictures_of(examined))),
        groups=groups,
        labels=words,
        omitted=OMITTED.get(opened.train.kind, ()),
        quarantine=tuple(quarantined(examined, findings)),
    )


def _showing(examined: Examined, data: str | Path) -> Int64[np.ndarray, " rows"]:
    """Return the pictures on which there is something."""
    rows = np.flatnonzero(examined.readable & ~examined.constant)
    if not rows.size:
        said = next((row.error for row in examined.rows if row.error), "all are of one colour")
        raise DataError(f"no picture of {data} shows anything: {said}")
    return rows


def _opened(data: str | Path, columns: Sequence[str], pixels: Pixels) -> Data:
    return open_data(data, pixels=pixels, seed=0, columns=columns, lenient=True)


def _census(examined: Examined) -> dict[str, SplitCensus]:
    rows = [row.error or row.header for row in examined.rows]
    ends = pairwise(examined.starts.tolist())
    return {
        name: split_census(source, rows[start:stop])
        for (name, source), (start, stop) in zip(examined.sources.items(), ends, strict=True)
    }


def _small_copies(examined: Examined, rows: np.ndarray) -> Float32[Tensor, "n d"]:
    """Return small copies without their means, along the axes on which they vary most."""
    smalls = np.stack([np.asarray(examined.rows[row].small) for row in rows.tolist()])
    flat = torch.from_numpy(smalls.reshape(len(rows), -1)).float()
    flat -= flat.mean(dim=1, keepdim=True)
    _, axes = torch.linalg.eigh(flat.T @ flat)  # the widest ones last
    return flat @ axes[:, -WIDTH:]


@torch.inference_mode()
def _features(
    reopened: Callable[[Pixels], Data], run: Path, workers: int | None, device: str
) -> Float32[Tensor, "n d"]:
    """Return what a model's head would read of every picture, in the order of the pass."""
    model = as_classifier(load(run)).to(named_device(device))
    card = model.card
    assert card is not None
    found: list[Tensor] = []
    for source in Examined(reopened(card.pixels), ()).sources.values():
        batches = EvalBatches(source, frame=card.preprocessing, batch_size=256)
        count = enough(source) if workers is None else workers
        for batch in loader(batches, start=0, stop=len(batches), workers=count):
            images = batch.images.to(next(model.parameters()).device)
            read = model.backbone(normalise(images, card.preprocessing))
            found.append(read.pooled.float().cpu())
    return torch.cat(found)


def _said(found: Suspects, by: str, *, model: bool) -> str:
    """Say how wrong labels were looked for, or why they were not."""
    words = f"by {by}: the pictures nearest to each answer {found.agreement:.0%} of the labels"
    if found.agreement >= TRUSTED:
        return words
    hint = "train longer" if model else "name a trained model with --run"
    return f"not looked for: {words}, too few for their dissent to count; {hint}"


def write(found: Checkup, out: Path) -> None:
    """Write `findings.csv` and `quarantine.csv` into a folder, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_quarantine(out / "quarantine.csv", table(found, found.quarantine))
    path = out / "findings.csv"
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        rows = csv.writer(file)
        rows.writerow((*HEADING, "group"))
        for finding, row in zip(found.findings, table(found, found.findings), strict=True):
            rows.writerow((*row, "" if finding.group is None else finding.group))
        for remark in found.remarks:
            split = remark.where.partition("/")[0]
            rows.writerow((remark.where, split, remark.kind, remark.why, ""))


def table(found: Checkup, findings: Sequence[Finding]) -> list[tuple[str, str, str, str]]:
    """Return name, split, kind and reason of findings."""
    examined = found.examined
    return [(examined.name(f.row), examined.locate(f.row)[0], f.kind, f.why) for f in findings]
