"""Two pictures by heart: do matching, losses and post-processing of each system fit together?

    python -m benchmarks.overfit [SETS] [--only 'detr*'] [--minutes 20] [--again]

The detectors learn two pictures of coco_instances, the panoptic systems two of coco_panoptic, with
their longer side at 128 pixels: the first two of the training pictures that have a few objects or
segments, none of them tiny. Small models from fresh weights, at a constant rate after a short rise,
no augmentation. Every 50 steps the model answers in evaluation mode; it has learnt the pictures
when its boxes, in the pixels of the files, have an AP50 of 0.95 against the file's, or when its
segments reach 0.9 of the panoptic quality that the truth itself has after it went through the
output's grid and through post-processing, two looks in a row; the score is the last look's, which
may be above the truth's, as answers are read between cells. Seconds and minutes are the
processor's, all threads'. Rows gather in benchmarks/overfit.json; a system that got there is not
trained again unless --again says so.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from patchword import models
from patchword.data import Pixels, open_data
from patchword.data.frame import seen_size
from patchword.data.moves import View, sized
from patchword.data.scene import Scene, Segment
from patchword.evaluation.detection import Detection, Detections, Objects
from patchword.evaluation.panoptic import Tally
from patchword.heads.axial_deeplab import CENTRE, OFFSET, AxialDeepLabConfig, Decoding
from patchword.heads.deformable_detr import DeformableDETRConfig
from patchword.heads.dense import MAIN
from patchword.heads.detr import DETRConfig
from patchword.heads.max_deeplab import CLASSES, MASKS, MaXDeepLabConfig
from patchword.heads.max_deeplab import Path as Dual
from patchword.heads.sparse_rcnn import SparseRCNNConfig
from patchword.models.axial import AxialConfig
from patchword.models.resnet import ResNetConfig
from patchword.predictor import normalise
from patchword.tasks.base import Task
from patchword.tasks.detect import Detect, boxed
from patchword.tasks.panoptic import BottomUp, BottomUpPanoptic, classes, parted, targets
from patchword.tasks.slots import SlotPanoptic, truth
from tests.parity.page import measured

SIDE = 128  # pixels of the longer side
FEW = {"objects": range(3, 9), "panoptic": range(3, 13)}  # that a picture has
LEAST = 40  # pixels of the smallest part, once the picture is small
LOOK = 50  # steps between two answers
ENOUGH = 2  # answers in a row that are good
RISE = 100  # steps
SURE = 10.0  # a score beside which that of others, 0, is nothing
FRAME = models.family("resnet18").PREPROCESSING  # its colours
KEPT = Path(__file__).with_name("overfit.json")


def chosen(sets: Path, kind: str, folder: str):
    """Return a set's source, and the first two views of it that have a few parts, none tiny."""
    source = open_data(f"{kind}:{sets / folder}", pixels=Pixels(), seed=0).train
    found: dict[int, View] = {}
    for index in range(len(source)):
        view = View(source.read(index), source.scene(index))
        sizes = areas(view.scene)
        whole = sizes and len(sizes) == len(least := areas(small(view).scene))
        if whole and len(sizes) in FEW[kind] and min(least) >= LEAST:
            found[index] = view
        if len(found) == 2:
            return source, found
    raise SystemExit(f"{sets / folder} has no two pictures with a few {kind}")


def areas(scene: Scene) -> list[float]:
    """Return the pixels of each object's box, or of each segment; none if there is a crowd."""
    if scene.objects is not None:
        low, high = scene.objects.boxes.split(2, dim=1)
        return [] if scene.objects.crowd.any() else (high - low).prod(dim=1).tolist()
    if any(segment.crowd for segment in scene.panoptic.segments):
        return []
    return [int((scene.panoptic.ids == s.id).sum()) for s in scene.panoptic.segments]


def small(view: View) -> View:
    """Return a view whose longer side has so many pixels."""
    return sized(view, seen_size(*view.size, (SIDE, SIDE)))


class Boxes:
    """Two pictures of objects, what a detector reads of them, and how its answers are scored."""

    measure, share = "AP50", 0.95

    def __init__(self, sets: Path) -> None:
        self.source, found = chosen(sets, "objects", "coco_instances")
        self.names = [self.source.name(index) for index in found]
        self.views, less = [*found.values()], [small(view) for view in found.values()]
        images = [normalise(view.image[None], FRAME)[0] for view in less]
        objects = [view.scene.objects for view in less]
        self.batch = boxed(images, [(one.boxes, one.labels) for one in objects])

    def fitted(self, head: Any) -> Any:
        """Return a head's config for these classes."""
        return head

    def ceiling(self, model: Any) -> float:
        """Return what the truth reaches: boxes are not drawn on a grid."""
        return 1.0

    def score(self, model: Any) -> float:
        """Return the AP50 of a model's answers, in pixels of the files."""
        said = model.detect(self.batch.images, self.batch.sizes, [view.size for view in self.views])
        tally = Detection(len(self.source.classes))
        for one, view in zip(said, self.views, strict=True):
            compare(tally, one, view.scene.objects)
        return tally.score().numbers["AP50"]


def compare(tally: Detection, said: Any, there: Any) -> None:
    """Hold what is said to be in a picture against what is there, in the picture's pixels."""
    tally.add(
        Detections(said.labels.numpy(), said.scores.double().numpy(), sides(said.boxes)),
        Objects(
            there.labels.numpy(),
            sides(there.boxes),
            there.areas.double().numpy(),
            there.crowd.numpy(),
        ),
    )


def sides(boxes: torch.Tensor) -> np.ndarray:
    """Turn left, top, right and bottom into left, top, width and height."""
    low, high = boxes.double().split(2, dim=1)
    return torch.cat([low, high - low], dim=1).numpy()


class Segments:
    """Two pictures parted into segments, and how a model's are scored."""

    measure, share = "PQ", 0.9

    def __init__(self, sets: Path) -> None:
        self.source, found = chosen(sets, "panoptic", "coco_panoptic")
        self.names = [self.source.name(index) for index in found]
        self.views = [small(view) for view in found.values()]
        images = torch.zeros(len(found), 3, SIDE, SIDE)
        scenes = []
        for place, view in zip(images, self.views, strict=True):
            rows, columns = view.size
            place[:, :rows, :columns] = normalise(view.image[None], FRAME)[0]
            ids = F.pad(view.scene.panoptic.ids, (0, SIDE - columns, 0, SIDE - rows))
            scenes.append(view.scene.panoptic._replace(ids=ids))
        self.batch = parted(images, scenes)

    def fitted(self, head: Any) -> Any:
        """Return a head's config for these classes."""
        return replace(head, things=tuple(sorted(self.source.things)))

    def ceiling(self, model: Any) -> float:
        """Return what the truth reaches at the cells of a model's grid."""
        answers = told(model, self.batch)
        return self.quality(model.head.parts(model.head.enlarged(answers, (SIDE, SIDE))))

    def score(self, model: Any) -> float:
        """Return the panoptic quality of a model's segments."""
        return self.quality(model.parts(self.batch.images))

    def quality(self, found: list[Any]) -> float:
        """Return the panoptic quality of segments."""
        tally = Tally(len(self.source.classes))
        for parts, view in zip(found, self.views, strict=True):
            rows, columns = view.size
            ids, scene = parts.ids[:rows, :columns].numpy(), view.scene.panoptic
            there = {*np.unique(ids).tolist()}
            labels = enumerate(parts.labels.tolist(), 1)
            answered = [Segment(key, label) for key, label in labels if key in there]
            tally.add(ids, answered, scene.ids.numpy(), scene.segments)
        return tally.score().pq


def told(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    """Return the answers that the truth gives at the cells of a head's grid."""
    with torch.no_grad():
        like = model.eval().answers(batch.images)
    name = MASKS if MASKS in like else CENTRE
    grid = tuple(like[name].shape[2:])
    cells = F.interpolate(batch.ids[:, None].float(), grid, mode="nearest-exact")[:, 0].long()
    make = by_slots if name == MASKS else by_centres
    found = [
        make(model, ids, *rest, like)
        for ids, *rest in zip(cells, batch.labels, batch.crowd, strict=True)
    ]
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def by_slots(model: Any, ids: torch.Tensor, labels: torch.Tensor, crowd: torch.Tensor, like: Any):
    """Return a mask and a class for each segment, and a slot of nothing for the other cells."""
    there = truth(ids, labels, crowd, model.head.things, torch.float32)
    slots, count = like[MASKS].shape[1], like[CLASSES].shape[-1]
    if len(there.masks) >= slots:
        raise SystemExit(f"a picture has {len(there.masks)} segments for {slots} slots")
    nothing = 1 - there.masks.sum(0, keepdim=True)
    masks = SURE * torch.cat([there.masks, nothing]).unflatten(1, ids.shape)
    kinds = torch.full((slots,), count - 1)
    kinds[: len(there.labels)] = there.labels
    masks = F.pad(masks, (0, 0, 0, 0, 0, slots - len(masks)), value=-SURE)
    return {MASKS: masks, CLASSES: SURE * F.one_hot(kinds, count).float()}


def by_centres(model: Any, ids: torch.Tensor, labels: torch.Tensor, crowd: torch.Tensor, like: Any):
    """Return classes, the heat of centres, and ways to them in cells.

    What nobody knows is called one of the picture's kinds of stuff, where it does no harm.
    """
    things = torch.isin(labels, labels.new_tensor(model.head.things)) & ~crowd
    numbers = (things.nonzero()[:, 0] + 1).tolist()
    there = targets(ids, numbers, BottomUp(sigma=1.0), torch.float32)
    kinds = classes(ids[None], labels[None])[0]
    stuff = labels[(labels >= 0) & ~torch.isin(labels, labels.new_tensor(model.head.things))]
    kinds = kinds.where(kinds >= 0, stuff[0])
    scores = F.one_hot(kinds, like[MAIN].shape[1])
    return {
        MAIN: SURE * scores.permute(2, 0, 1).float(),
        CENTRE: there.heat[None],
        OFFSET: there.offset,
    }


HALF = ResNetConfig(  # a ResNet-18 of half the width
    block="basic", stem_dim=32, embed_dim=(32, 64, 128, 256), depth=(2, 2, 2, 2)
)


@dataclass(frozen=True)
class System:
    """A small model of a paper's, and how it learns.

    Attributes:
        case: the pictures that it learns.
        head: its config.
        task: puts its objective around it.
        backbone: its config.
        lr: rate after the rise.
        clip: largest norm of the gradient.
    """

    case: type[Boxes] | type[Segments]
    head: Any
    task: Callable[[Any], Task] = Detect
    backbone: Any = HALF
    lr: float = 5e-4
    clip: float = 0.5


TRANSFORMER: dict[str, Any] = {
    "embed_dim": 128,
    "num_heads": 4,
    "mlp_dim": 256,
    "num_queries": 20,
    "frozen_norms": False,  # they start from nothing
}
AXIAL = AxialConfig(
    image_size=(SIDE, SIDE),
    stem_dim=32,
    embed_dim=(64, 128, 256, 512),
    depth=(1, 1, 2, 1),
    num_heads=4,
    output_stride=16,
    deep_stem=True,
)
DUAL = replace(AXIAL, embed_dim=(64, 128, 256), depth=(1, 1, 2), since=2)
SYSTEMS = {
    "detr": System(Boxes, DETRConfig(depth=(2, 3), drop_rate=0.0, **TRANSFORMER)),
    "deformable_detr": System(
        Boxes, DeformableDETRConfig(depth=(2, 3), drop_rate=0.0, **TRANSFORMER)
    ),
    "sparse_rcnn": System(Boxes, SparseRCNNConfig(depth=3, hidden=32, **TRANSFORMER)),
    "axial_deeplab": System(
        Segments,
        AxialDeepLabConfig(
            semantic=Decoding(channels=64, context=64, low=(16, 32)),
            instance=Decoding(channels=64, context=64, low=(16, 32)),
            semantic_channels=64,
            instance_channels=32,
            window=9,
            least_stuff=0.002,
        ),
        lambda model: BottomUpPanoptic(
            model, BottomUp(sigma=2.0, small_area=160, offset=0.05)
        ),  # lengths as at 641 pixels, made shorter
        AXIAL,
        lr=2e-3,
    ),
    "max_deeplab": System(
        Segments,
        MaXDeepLabConfig(
            slots=24,
            memory=64,
            path=Dual(filters=32, num_heads=4, hidden=128),
            channels=128,
            blocks=(1, 1),
            num_heads=4,
            span=SIDE // 16,
            drop_path_rate=0.0,
            pixel_channels=32,
            head_channels=64,
            semantic=Decoding(channels=64, context=64, low=(16, 32), rates=(1, 2, 3)),
            norm_momentum=0.1,
        ),
        SlotPanoptic,
        DUAL,
        lr=2e-3,
    ),
}


def learnt(name: str, system: System, sets: Path, minutes: float) -> dict[str, Any]:
    """Train a system until it knows the pictures, or for so many minutes; return its row."""
    torch.manual_seed(0)
    case = system.case(sets)
    model = case.fitted(system.head).assemble(system.backbone.build(), len(case.source.classes))
    task, ceiling = system.task(model), case.ceiling(model)
    bar, score, good, step, start = case.share * ceiling, 0.0, 0, 0, time.process_time()
    count = task.count(case.batch)
    optimizer = torch.optim.AdamW(task.parameters(), lr=system.lr, weight_decay=0.0)
    while good < ENOUGH and time.process_time() - start < 60 * minutes:
        task.train()
        for group in optimizer.param_groups:
            group["lr"] = system.lr * min((step + 1) / RISE, 1.0)
        optimizer.zero_grad()
        loss = task(case.batch, count).total
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), system.clip)
        optimizer.step()
        step += 1
        if step % LOOK == 0:
            with torch.no_grad():
                score = case.score(model.eval())
            good = good + 1 if score >= bar else 0
            print(f"{name} {step}: loss {loss.item():.3f}, {score:.3f} of {bar:.3f}", flush=True)
    return {
        "system": name,
        "measure": case.measure,
        "score": score,
        "ceiling": ceiling,
        "bar": bar,
        "reached": good == ENOUGH,
        "steps": step,
        "seconds": round(time.process_time() - start, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "pictures": case.names,
        "on": f"{measured()}, {torch.get_num_threads()} thread(s)",
    }


def kept(path: Path = KEPT) -> dict[str, dict[str, Any]]:
    """Return the rows that are kept, by system."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {row["system"]: row for row in rows}


def keep(row: dict[str, Any], path: Path = KEPT) -> None:
    """Put a row in the place of the one that it renews."""
    rows = {**kept(path), row["system"]: row}
    lines = [json.dumps(rows[name]) for name in SYSTEMS if name in rows]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def table(rows: list[dict[str, Any]]) -> str:
    """Draw rows in Markdown."""
    lines = [
        "| system | parameters | measure | reached | bar | ceiling | steps | seconds | |\n",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    ]
    for row in rows:
        figures = " | ".join(f"{row[name]:.3f}" for name in ("score", "bar", "ceiling"))
        lines.append(
            f"| `{row['system']}` | {row['parameters']:,} | {row['measure']} | {figures} "
            f"| {row['steps']:,} | {row['seconds']:.0f} | {'yes' if row['reached'] else 'no'} |\n"
        )
    return "".join(lines)


def main(words: list[str] | None = None) -> int:
    """Train what is asked for; return 0 if all of it learnt its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="?", default=Path("../shared/sets"))
    parser.add_argument("--only", default="*", help="a pattern of systems")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each system, at the most")
    parser.add_argument("--again", action="store_true", help="those too that are learnt already")
    parser.add_argument("--out", type=Path, default=KEPT)
    given = parser.parse_args(words)
    names = [name for name in SYSTEMS if fnmatchcase(name, given.only)]
    for name in names:
        if given.again or not kept(given.out).get(name, {"reached": False})["reached"]:
            keep(learnt(name, SYSTEMS[name], given.sets, given.minutes), given.out)
    rows = kept(given.out)
    print(table([*rows.values()]), end="")
    return int(not all(rows[name]["reached"] for name in names))


if __name__ == "__main__":
    sys.exit(main())
