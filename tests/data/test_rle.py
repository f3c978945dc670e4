"""Masks in COCO's files: runs against the sets' own, outlines against rules worked out by hand."""

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from patchword.data.rle import decode_runs, encode_runs, fill
from patchword.errors import DataError


def test_characters_are_the_segments_that_they_were_made_from(shared):
    folder = shared / "sets/panopticapi_sample"
    runs = json.loads((folder / "panoptic_coco_detection_format.json").read_text())["annotations"]
    parts = json.loads((folder / "panoptic_examples.json").read_text())["annotations"]
    for picture in parts:
        name = folder / "panoptic_examples" / picture["file_name"]
        ids = np.array(Image.open(name)).astype(int) @ [1, 256, 65536]
        wanted = {(ids == s["id"]).tobytes() for s in picture["segments_info"]}
        for one in [one for one in runs if one["image_id"] == picture["image_id"]]:
            mask = decode_runs(one["segmentation"]["counts"], *one["segmentation"]["size"])
            assert mask.tobytes() in wanted and mask.sum() == one["area"]


@pytest.mark.parametrize("seed", range(5))
def test_runs_there_and_back(seed):
    draw = np.random.default_rng(seed)
    mask = draw.random((7, 5)) < draw.random()
    assert (decode_runs(encode_runs(mask), 7, 5) == mask).all()


def test_runs_of_all_and_of_nothing():
    assert encode_runs(np.zeros((2, 3), bool)) == [6] and encode_runs(np.ones((2, 3), bool)) == [
        0,
        6,
    ]
    with pytest.raises(DataError, match="its runs make 7 pixels, not 3 x 2"):
        decode_runs([3, 4], 2, 3)


def test_a_box_with_whole_corners_is_its_pixels():
    mask = fill([2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0], 6, 8)
    assert mask.sum() == 9 and mask[1:4, 2:5].all()
    clipped = fill([-3.0, -2.0, 4.0, -2.0, 4.0, 30.0, -3.0, 30.0], 6, 8)
    assert clipped[:, :4].all() and not clipped[:, 4:].any()
    assert not fill([20.0, 1.0, 25.0, 1.0, 25.0, 4.0, 20.0, 4.0], 6, 8).any()
    assert not fill([2.0, 1.0, 2.0, 1.0, 2.0, 1.0], 6, 8).any()


@pytest.mark.parametrize("seed", range(8))
def test_outlines_are_filled_as_coco_s_rules_say(seed):
    """Point by point, as they are: a fine edge, crossings of columns' middles, runs between."""
    draw = np.random.default_rng(seed)
    outline = (draw.uniform(-4, 24, (draw.integers(3, 9), 2)) * [1.2, 0.8]).round(2)
    assert (fill(outline.ravel().tolist(), 15, 20) == by_the_rules(outline, 15, 20)).all()


def by_the_rules(outline, rows, columns):
    fine = [(int(5 * x + 0.5), int(5 * y + 0.5)) for x, y in outline]
    points = []
    for (x0, y0), (x1, y1) in zip(fine, fine[1:] + fine[:1], strict=True):
        dx, dy = abs(x1 - x0), abs(y1 - y0)
        turned = (dx >= dy and x0 > x1) or (dx < dy and y0 > y1)
        a, b, c, d = (x1, y1, x0, y0) if turned else (x0, y0, x1, y1)
        edge = []
        for step in range(max(dx, dy) + 1):
            if dx >= dy:
                edge.append((a + step, int(b + (d - b) / max(dx, 1) * step + 0.5)))
            else:
                edge.append((int(a + (c - a) / dy * step + 0.5), b + step))
        points += edge[::-1] if turned else edge
    toggles = []
    for (u0, v0), (u1, v1) in pairwise(points):
        x = (min(u0, u1) + 0.5) / 5 - 0.5
        if u0 != u1 and x == int(x) and 0 <= x <= columns - 1:
            y = min(max((min(v0, v1) + 0.5) / 5 - 0.5, 0), rows)
            toggles.append(int(x) * rows + int(np.ceil(y)))
    flat, inside = np.zeros(rows * columns, bool), False
    for place in range(rows * columns):
        inside ^= toggles.count(place) % 2 == 1
        flat[place] = inside
    return flat.reshape(columns, rows).T


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_runs_and_outlines_are_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    draw = np.random.default_rng(0)
    for _ in range(50):
        outline = (draw.uniform(-4, 24, (draw.integers(3, 9), 2)) * [1.2, 0.8]).ravel().tolist()
        theirs = coco.frPyObjects([outline], 15, 20)[0]
        assert (coco.decode(theirs) == fill(outline, 15, 20)).all()
        assert (decode_runs(theirs["counts"], 15, 20) == coco.decode(theirs)).all()
