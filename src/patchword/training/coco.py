"""A trained model's objects or segments in pictures, written as COCO's tools read them.

detections.json                boxes of all answers, in COCO's format of results
panoptic.json, panoptic/*.png  segments, and maps of their ids: R + 256 G + 256 * 256 B
overlays/*.jpg                 the same to look at
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from patchword.data.scene import boxes_of
from patchword.errors import ConfigError
from patchword.evaluation.looker import Parter, Spotter
from patchword.files import replacing, write_text
from patchword.heads.detector import Answers, Detector
from patchword.heads.panoptic import Panoptic, Parts
from patchword.predictor import Card
from patchword.results import Prediction
from patchword.training.drawn import kept, parted, spotted
from patchword.training.pictured import pixels
from patchword.training.placed import pictures, write_picture


def image_ids(names: Sequence[str]) -> dict[str, int]:
    """Return the pictures' numbers: their names, where all are numbers as COCO's; else from 1."""
    stems = [Path(name).stem for name in names]
    if all(stem.isdecimal() for stem in stems) and len({*map(int, stems)}) == len(stems):
        return dict(zip(names, map(int, stems), strict=True))
    return {name: number for number, name in enumerate(names, start=1)}


def category_ids(card: Card) -> tuple[int, ...]:
    """Return the number of each class: that of the files it was learnt from, else from 1."""
    same = len(card.ids) == card.num_classes  # they may be those of other classes
    return card.ids if same else tuple(range(1, card.num_classes + 1))


def found_in(
    model: Detector, names: Sequence[str], out: Path, *, least: float
) -> Iterator[Prediction]:
    """Find objects in pictures, and write them into a folder.

    Args:
        model: in evaluation mode.
        names: files.
        out: the folder; it is made.
        least: score from which answers are drawn and named; the file holds all.

    Raises:
        ConfigError: the folder is one of the pictures'.
    """
    card = model.card
    assert card is not None
    subject, of, rows = Spotter(model, card), card.names, list[dict[str, Any]]()
    file, numbers = out / "detections.json", image_ids(names)
    for each in pictures(names, card, out, {"overlays": ".jpg"}):
        if isinstance(each, Prediction):
            yield each
            continue
        answers = subject.objects(each.picture)
        about = {"image_id": numbers[each.name], "file_name": each.name}
        rows += [{**about, **row} for row in results(answers, category_ids(card))]
        sure = kept(answers, least)
        write_picture(each.places[0], spotted(pixels(each.picture), sure, of))
        yield Prediction(
            each.name,
            names=tuple(of[label] for label in sure.labels.tolist()),
            probabilities=tuple(sure.scores.tolist()),
            boxes=tuple(map(tuple, sure.boxes.tolist())),
            notes=each.notes,
            written=(str(file), *map(str, each.places)),
        )
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(rows) + "\n")


def results(answers: Answers, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Write answers as COCO does: x, y, width and height of boxes, in pixels."""
    rows = (answers.labels, answers.boxes.double(), answers.scores.double())
    for label, box, score in zip(*(row.tolist() for row in rows), strict=True):
        left, top, right, bottom = box
        corners = [round(value, 3) for value in (left, top, right - left, bottom - top)]
        yield {"category_id": ids[label], "bbox": corners, "score": round(score, 6)}


def parted_in(
    model: Panoptic, names: Sequence[str], out: Path, *, top: int
) -> Iterator[Prediction]:
    """Part pictures into segments, and write these into a folder.

    Args:
        model: in evaluation mode.
        names: files.
        out: the folder; it is made.
        top: how many classes to name for each.

    Raises:
        ConfigError: the folder is one of the pictures'.
    """
    card = model.card
    assert card is not None
    subject, of, ids = Parter(model, card), card.names, category_ids(card)
    file, numbers = out / "panoptic.json", image_ids(names)
    images, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for each in pictures(names, card, out, {"panoptic": ".png", "overlays": ".jpg"}):
        if isinstance(each, Prediction):
            yield each
            continue
        parts = subject.parts(each.picture)
        map_file = each.places[0].relative_to(out / "panoptic").as_posix()
        height, width = parts.ids.shape
        about = {"id": numbers[each.name], "file_name": each.name}
        images.append({**about, "height": height, "width": width})
        info = [{**row, "category_id": ids[row["category_id"]]} for row in segments(parts)]
        about = {"image_id": numbers[each.name], "file_name": map_file}
        rows.append({**about, "segments_info": info})
        write_map(each.places[0], parts)
        write_picture(each.places[1], parted(pixels(each.picture), parts, of))
        areas = {of[k]: shares(parts, k) for k in sorted({*parts.labels.tolist()})}
        most = sorted(areas, key=lambda name: -areas[name])[:top]
        yield Prediction(
            each.name,
            names=tuple(most),
            shares=tuple(areas[name] for name in most),
            notes=each.notes,
            written=(*map(str, each.places), str(file)),
        )
    things = model.head.things
    categories = [
        {"id": ids[k], "name": name, "isthing": int(k in things)} for k, name in enumerate(of)
    ]
    out.mkdir(parents=True, exist_ok=True)
    whole = {"images": images, "annotations": rows, "categories": categories}
    write_text(file, json.dumps(whole) + "\n")


def segments(parts: Parts) -> Iterator[dict[str, Any]]:
    """Write segments as COCO does, with the numbers of classes as the model has them."""
    for k, label in enumerate(parts.labels.tolist()):
        mask = parts.ids == k + 1
        left, top, right, bottom = map(int, boxes_of(mask[None])[0].tolist())
        yield {
            "id": k + 1,
            "category_id": label,
            "area": int(mask.sum()),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }


def shares(parts: Parts, label: int) -> float:
    """Return the share of a picture's pixels that are of a class."""
    its = (parts.labels == label).nonzero()[:, 0] + 1
    return torch.isin(parts.ids, its).double().mean().item()


def write_map(path: Path, parts: Parts) -> None:
    """Write the id of each pixel's segment as panopticapi does, in three bytes."""
    from PIL import Image

    ids = parts.ids.numpy()
    planes: UInt8[np.ndarray, "h w 3"] = np.stack(
        [ids % 256, ids // 256 % 256, ids // 65536], axis=-1
    ).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        Image.fromarray(planes).save(part, format="PNG")


def plain(views: Sequence[str]) -> None:
    """Make sure that pictures are to be seen as they are.

    Raises:
        ConfigError: several views are asked for, of which objects or segments have no mean.
    """
    if views:
        raise ConfigError(
            f"--views {' '.join(views)}: objects and segments are found in one view; leave it out"
        )
