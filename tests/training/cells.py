"""Small pictures of rectangles, whose colours tell their classes, in every layout of objects."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from patchword.heads import axial_deeplab, deformable_detr
from patchword.heads.axial_deeplab import AxialDeepLabConfig, Decoding
from patchword.heads.deformable_detr import DeformableDETRConfig
from patchword.heads.dense import Design

NAMES = ("red", "green", "blue")
IDS = (3, 7, 90)  # of the categories: with gaps
COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220]])
GROUND = 120
SPLITS = (("train", 12), ("val", 4))
QUICK = (
    *("--image-size", "16", "--precision", "fp32", "--workers", "0", "--batch-size", "4"),
    *("--settings", "joint.distort=null", "joint.scale=[0.9,1.1]"),
)
SPOTTER = ("--model", "deformable_detr_small", "--backbone", "vit_micro_patch2_8", *QUICK)
PARTER = ("--model", "axial_deeplab_small", "--backbone", "vit_micro_patch2_8", *QUICK)


@contextmanager
def tiny_heads():
    """Make the small heads smaller still, so that they learn in seconds."""
    spotter = DeformableDETRConfig(
        embed_dim=32,
        num_heads=2,
        depth=(1, 2),
        mlp_dim=64,
        num_queries=8,
        num_levels=2,
        points=2,
        refine=True,
        drop_rate=0.0,
    )
    parter = AxialDeepLabConfig(
        semantic=Decoding(channels=24, context=24, low=(16, 16)),
        instance=Decoding(channels=24, context=24, low=(16, 16)),
        semantic_channels=24,
        instance_channels=24,
        window=5,
    )
    with pytest.MonkeyPatch.context() as patched:
        spot, part = Design(head=spotter), Design(head=parter)
        patched.setitem(deformable_detr.VARIANTS, "deformable_detr_small", spot)
        patched.setitem(axial_deeplab.VARIANTS, "axial_deeplab_small", part)
        yield


def rectangles(draw, rows, columns, most=3):
    """Return up to so many boxes with their classes, one in each part of a picture."""
    spots = [(0, 0), (0, 1), (1, 0), (1, 1)]
    draw.shuffle(spots)
    found = []
    for down, across in spots[: draw.integers(1, most + 1)]:
        high, wide = draw.integers(8, rows // 2 - 1), draw.integers(8, columns // 2 - 1)
        top = down * rows // 2 + draw.integers(0, rows // 2 - high)
        left = across * columns // 2 + draw.integers(0, columns // 2 - wide)
        label = int(draw.integers(0, 3))
        found.append((int(left), int(top), int(left + wide), int(top + high), label))
    return found


def painted(draw, rows, columns, boxes):
    pixels = np.full((rows, columns, 3), GROUND) + draw.integers(-15, 15, (rows, columns, 3))
    for left, top, right, bottom, label in boxes:
        pixels[top:bottom, left:right] = COLOURS[label]
    return pixels.clip(0, 255).astype(np.uint8)


def drawn(splits=SPLITS, empty=1):
    """Yield split, number, pixels and boxes of pictures; of the last ones nothing is there."""
    draw = np.random.default_rng(0)
    for split, count in splits:
        for number in range(count):
            rows, columns = 32 + 4 * (number % 2), 40 - 4 * (number % 3)
            boxes = [] if number >= count - empty else rectangles(draw, rows, columns)
            yield split, number, painted(draw, rows, columns, boxes), boxes


def coco(root, splits=SPLITS, empty=1, odd=True):
    """Write COCO's layout, its categories with gaps; odd: with a crowd and a box without area."""
    files = {
        split: {"images": [], "annotations": [], "categories": categories()} for split, _ in splits
    }
    for split, number, pixels, boxes in drawn(splits, empty):
        folder = root / "images" / split
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{7 * number:06}.png"
        Image.fromarray(pixels).save(folder / name)
        height, width = pixels.shape[:2]
        about = {"id": 7 * number, "file_name": name, "height": height, "width": width}
        files[split]["images"].append(about)
        rows = [(*box, 0) for box in boxes]
        if odd and number == 0:
            rows += [(0, 0, 5, 5, 1, 1), (4, 4, 4, 9, 2, 0)]
        for left, top, right, bottom, label, crowd in rows:
            files[split]["annotations"].append(
                {
                    "id": len(files[split]["annotations"]) + 1,
                    "image_id": 7 * number,
                    "category_id": IDS[label],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": crowd,
                }
            )
    (root / "annotations").mkdir()
    for split, found in files.items():
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(found))
    return root


def categories():
    return [{"id": id_, "name": name} for id_, name in zip(IDS, NAMES, strict=True)]


def voc(root, splits=SPLITS, empty=1):
    """Write Pascal VOC's layout."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    lists = {split: [] for split, _ in splits}
    for split, number, pixels, boxes in drawn(splits, empty):
        stem = f"{split}{number}"
        lists[split].append(stem)
        Image.fromarray(pixels).save(root / f"JPEGImages/{stem}.png")
        rows = "".join(
            f"<object><name>{NAMES[label]}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for left, top, right, bottom, label in boxes
        )
        (root / f"Annotations/{stem}.xml").write_text(f"<annotation>{rows}</annotation>")
    for split, stems in lists.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems))
    return root


def yolo(root, splits=SPLITS, empty=1):
    """Write YOLO's layout."""
    for split, number, pixels, boxes in drawn(splits, empty):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"images/{split}/{number}.png")
        height, width = pixels.shape[:2]
        rows = [
            f"{label} {(x + r) / 2 / width} {(y + b) / 2 / height} {(r - x) / width} "
            f"{(b - y) / height}"
            for x, y, r, b, label in boxes
        ]
        if rows:
            (root / f"labels/{split}/{number}.txt").write_text("\n".join(rows))
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


def panoptic(root, splits=SPLITS, things=(3, 7)):
    """Write COCO's panoptic layout: rectangles on a ground that is stuff, as is what is blue."""
    ground = 120
    every = [*categories(), {"id": ground, "name": "ground"}]
    every = [{**one, "isthing": int(one["id"] in things)} for one in every]
    for split, number, pixels, boxes in drawn(splits, empty=0):
        maps = root / f"annotations/panoptic_{split}2017"
        for folder in (root / "images" / split, maps):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"images/{split}/{number}.png")
        ids = np.full(pixels.shape[:2], 1000)
        for k, (left, top, right, bottom, label) in enumerate(boxes):
            ids[top:bottom, left:right] = 5 + k if IDS[label] in things else 900
        ids[:1] = 0
        kinds = {5 + k: IDS[box[4]] for k, box in enumerate(boxes) if IDS[box[4]] in things}
        kinds |= {1000: ground, 900: 90}
        planes = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
        Image.fromarray(planes).save(maps / f"{number}.png")
        info = [
            {"id": key, "category_id": kinds[key], "iscrowd": 0, "area": int((ids == key).sum())}
            for key in np.unique(ids).tolist()
            if key
        ]
        height, width = ids.shape
        file = root / f"annotations/panoptic_{split}2017.json"
        found = {"images": [], "annotations": [], "categories": every}
        found = json.loads(file.read_text()) if file.exists() else found
        about = {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        found["images"].append(about)
        row = {"image_id": number, "file_name": f"{number}.png", "segments_info": info}
        found["annotations"].append(row)
        file.write_text(json.dumps(found))
    return root
