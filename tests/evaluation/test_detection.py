"""Average precision: against COCO's rules in loops, against pycocotools where it is there."""

import numpy as np
import pytest

from patchword.errors import DataError
from patchword.evaluation.detection import Detection, Detections, Objects, box_iou, mask_iou

RANGES = ((0, 1e10), (0, 1024), (1024, 9216), (9216, 1e10))


def overlap(ours, theirs, crowd):
    """Return the overlap of two boxes (x, y, w, h), or of two masks."""
    if isinstance(ours, np.ndarray) and ours.dtype == bool:
        both, own, other = np.sum(ours & theirs), np.sum(ours), np.sum(theirs)
    else:
        (a, b, c, d), (e, f, g, h) = ours, theirs
        width, height = min(a + c, e + g) - max(a, e), min(b + d, f + h) - max(b, f)
        both = width * height if width > 0 and height > 0 else 0
        own, other = c * d, g * h
    return both / (own if crowd else own + other - both) if both > 0 else 0.0


def in_loops(pictures, classes, masks=False):
    """Return COCO's curves as its rules say, a threshold at a time, nothing shared."""
    precision, scores = -np.ones((2, 10, 101, classes, 4, 3))
    recall = -np.ones((10, classes, 4, 3))
    for place in np.ndindex(10, classes, 4, 3):
        found = curve(pictures, place, masks)
        if found is not None:
            t, k, a, m = place
            recall[place], precision[t, :, k, a, m], scores[t, :, k, a, m] = found
    return precision, recall, scores


def curve(pictures, place, masks):
    t, label, area, most = place
    least = min(np.linspace(0.5, 0.95, 10)[t], 1 - 1e-10)
    answers, wanted = [], 0
    for dets, objects in pictures:
        ours, free, ignore = one_picture(dets, objects, label, RANGES[area], masks)
        taken = {}
        wanted += sum(not ignore[g] for g in free)
        for d in ours[:100][: (1, 10, 100)[most]]:
            best, reached = None, least
            for g in sorted(free, key=lambda g: ignore[g]):
                crowd = bool(objects.crowd[g])
                if g in taken and not crowd:
                    continue
                if best is not None and not ignore[best] and ignore[g]:
                    break
                shapes = (
                    (dets.masks[d], objects.masks[g])
                    if masks
                    else (dets.boxes[d], objects.boxes[g])
                )
                this = overlap(*shapes, crowd)
                if this >= reached:
                    best, reached = g, this
            size = dets.masks[d].sum() if masks else dets.boxes[d][2] * dets.boxes[d][3]
            if best is not None:
                taken[best] = d
                skipped = ignore[best]
            else:
                skipped = not RANGES[area][0] <= size <= RANGES[area][1]
            if not skipped:
                answers.append((dets.scores[d], best is not None))
            else:
                answers.append((dets.scores[d], None))
    return read_off(answers, wanted) if wanted else None


def one_picture(dets, objects, label, reach, masks):
    ours = [d for d in range(len(dets.labels)) if dets.labels[d] == label]
    ours.sort(key=lambda d: -dets.scores[d])
    free = [g for g in range(len(objects.labels)) if objects.labels[g] == label]
    ignore = {
        g: bool(objects.crowd[g]) or not reach[0] <= objects.areas[g] <= reach[1] for g in free
    }
    return ours, free, ignore


def read_off(answers, wanted):
    answers.sort(key=lambda pair: -pair[0])
    right = wrong = 0
    points = []
    for _, hit in answers:
        right, wrong = right + (hit is True), wrong + (hit is False)
        points.append((right / wanted, right / (right + wrong + np.spacing(1))))
    levels, sure, scores = [], [], [score for score, _ in answers]
    for level in np.linspace(0, 1, 101):
        later = [precise for reached, precise in points if reached >= level]
        levels.append(max(later, default=0.0))
        sure.append(
            next((s for s, (reached, _) in zip(scores, points, strict=True) if reached >= level), 0)
        )
    return (points[-1][0] if points else 0.0), levels, sure


def mean(values):
    return values[values > -1].mean() if (values > -1).any() else -1.0


def twelve(precision, recall):
    return [
        mean(precision[..., 0, 2]),
        mean(precision[0, ..., 0, 2]),
        mean(precision[5, ..., 0, 2]),
        *(mean(precision[..., area, 2]) for area in (1, 2, 3)),
        *(mean(recall[..., 0, most]) for most in (0, 1, 2)),
        *(mean(recall[..., area, 2]) for area in (1, 2, 3)),
    ]


def drawn(seed, classes=3, size=(40, 50), tied=True):
    """Draw a picture: objects, crowds among them, and answers near some, with equal scores."""
    draw = np.random.default_rng(seed)
    count, strays = draw.integers(0, 6), draw.integers(0, 6)
    scale = draw.choice([1, 4, 12])

    def boxes(n):
        corner = draw.integers(0, 20, (n, 2)) * scale
        return np.concatenate((corner, draw.integers(1, 20, (n, 2)) * scale), axis=1).astype(float)

    theirs, labels = boxes(count), draw.integers(0, classes, count)
    crowd = draw.random(count) < 0.25
    near = np.repeat(theirs, 2, axis=0) + draw.integers(-1, 2, (2 * count, 4)) * scale
    ours = np.concatenate((np.maximum(near, [-9e9, -9e9, 0, 0]), boxes(strays), theirs[:1]))
    guessed = np.concatenate((np.repeat(labels, 2), draw.integers(0, classes, strays), labels[:1]))
    scores = draw.integers(1, 6, len(ours)) / 5 if tied else draw.random(len(ours))
    areas = theirs[:, 2] * theirs[:, 3] * draw.choice([1.0, 0.6], count)
    where = [
        np.stack([painted(box / scale, size) for box in some] or [np.zeros(size, bool)])
        for some in (ours, theirs)
    ]
    return (
        Detections(guessed, scores, ours, where[0][: len(ours)]),
        Objects(labels, theirs, areas, crowd, where[1][:count]),
    )


def painted(box, size):
    x, y, w, h = box.astype(int)
    mask = np.zeros(size, bool)
    mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
    return mask


def scored(pictures, classes, masks=False):
    detection = Detection(classes, masks=masks)
    for dets, objects in pictures:
        detection.add(dets, objects)
    return detection.score()


NONE = Objects(np.zeros(0, int), np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))
SILENT = Detections(np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_curves_are_those_of_the_rules_in_loops(seed, masks):
    pictures = [drawn(10 * seed + n, tied=seed % 2 == 0) for n in range(4)]
    found = scored(pictures, 4, masks)
    precision, recall, scores = in_loops(pictures, 4, masks)
    np.testing.assert_allclose(found.precision, precision, atol=1e-9)
    np.testing.assert_allclose(found.recall, recall, atol=1e-9)
    np.testing.assert_allclose(found.scores, scores, atol=1e-9)
    assert list(found.numbers.values()) == pytest.approx(twelve(precision, recall), abs=1e-9)
    assert found.per_class[3] == -1  # nothing is of the last class


@pytest.mark.parametrize("masks", [False, True])
def test_the_numbers_are_pycocotools(masks):
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    encode = pytest.importorskip("pycocotools.mask").encode
    pictures = [drawn(900 + n) for n in range(40)]
    truth, answers = coco.COCO(), []
    truth.dataset = {
        "images": [{"id": n + 1, "height": 40, "width": 50} for n in range(len(pictures))],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(3)],
        "annotations": [],
    }

    def common(n, given, row):
        mask = encode(np.asfortranarray(given.masks[row].astype(np.uint8)))
        shape = {"segmentation": mask} if masks else {"bbox": given.boxes[row].tolist()}
        return {"image_id": n + 1, "category_id": int(given.labels[row]) + 1, **shape}

    for n, (dets, objects) in enumerate(pictures):
        for row in range(len(objects.labels)):
            extra = {"area": objects.areas[row], "iscrowd": int(objects.crowd[row])}
            number = len(truth.dataset["annotations"]) + 1
            truth.dataset["annotations"].append({"id": number, **common(n, objects, row), **extra})
        for row in range(len(dets.labels)):
            answers.append({"score": float(dets.scores[row]), **common(n, dets, row)})
    truth.createIndex()
    judge = cocoeval.COCOeval(truth, truth.loadRes(answers), "segm" if masks else "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    found = scored(pictures, 3, masks)
    assert list(found.numbers.values()) == pytest.approx(judge.stats.tolist(), abs=1e-9)
    np.testing.assert_allclose(found.precision, judge.eval["precision"], atol=1e-9)
    np.testing.assert_allclose(found.recall, judge.eval["recall"], atol=1e-9)
    np.testing.assert_allclose(found.scores, judge.eval["scores"], atol=1e-9)


def test_no_picture_no_object_and_no_answer():
    assert set(scored([], 2).numbers.values()) == {-1.0}
    assert set(scored([(SILENT, NONE)], 2).numbers.values()) == {-1.0}
    dets, objects = drawn(3)
    assert set(scored([(dets, NONE)], 3).numbers.values()) == {-1.0}
    assert scored([(SILENT, objects)], 3).numbers["AP"] == 0


def test_worked_by_hand():
    """Two of three objects are found, and the surest answer is wrong."""
    theirs = np.array([[0.0, 0, 40, 40], [50, 50, 40, 40], [200, 0, 40, 40]])
    ours = np.array([[300.0, 300, 9, 9], [0, 0, 40, 40], [50, 50, 40, 40]])
    zeros = np.zeros(3, int)
    objects = Objects(zeros, theirs, np.full(3, 1600.0), np.zeros(3, bool))
    found = scored([(Detections(zeros, np.array([0.9, 0.8, 0.7]), ours), objects)], 1).numbers
    ap = 67 / 101 * 2 / 3  # recalls 0 to 0.66 reach it
    assert found["AP"] == pytest.approx(ap) and found["AP75"] == pytest.approx(ap)
    assert found["AR1"] == 0 and found["AR10"] == pytest.approx(2 / 3)
    assert found["APs"] == -1 and found["APm"] == pytest.approx(67 / 101)  # the stray is small


def test_what_lies_in_a_crowd_is_no_mistake_and_a_crowd_is_never_missed():
    theirs, zeros = np.array([[0.0, 0, 100, 100], [200, 0, 50, 50]]), np.zeros(2, int)
    objects = Objects(zeros, theirs, np.array([9999.0, 2500.0]), np.array([True, False]))
    ours = np.array([[0.0, 0, 10, 10], [20, 20, 10, 10], [200, 0, 50, 50]])
    dets = Detections(np.zeros(3, int), np.array([0.9, 0.8, 0.1]), ours)
    assert scored([(dets, objects)], 1).numbers["AP"] == pytest.approx(1)


def test_only_the_hundred_surest_of_a_class_count():
    theirs = np.array([[0.0, 0, 40, 40]])
    objects = Objects(np.zeros(1, int), theirs, np.full(1, 1600.0), np.zeros(1, bool))
    ours = np.tile([[500.0, 500, 9, 9]], (101, 1))
    ours[100] = theirs[0]
    dets = Detections(np.zeros(101, int), np.linspace(1, 0, 101), ours)
    assert scored([(dets, objects)], 1).numbers["AR100"] == 0
    assert scored([(dets._replace(scores=np.linspace(0, 1, 101)), objects)], 1).numbers["AP"] > 0.99


def test_a_box_of_no_area_overlaps_nothing():
    flat = np.array([[5.0, 5, 0, 7]])
    assert box_iou(flat, flat, np.zeros(1, bool)) == 0
    empty = np.zeros((1, 4, 4), bool)
    assert mask_iou(empty, empty, np.ones(1, bool)) == 0


def test_what_cannot_be_matched_is_refused():
    dets, objects = drawn(3)
    with pytest.raises(DataError, match="of class 2; wanted: 0 to 1"):
        Detection(2).add(dets, objects)
    with pytest.raises(DataError, match="score boxes"):
        Detection(3, masks=True).add(dets._replace(masks=None), objects)


def test_a_crowd_takes_an_answer_only_where_no_object_can():
    theirs = np.array([[0.0, 0, 100, 100], [10, 10, 40, 40]])
    objects = Objects(np.zeros(2, int), theirs, theirs[:, 2] ** 2, np.array([True, False]))
    dets = Detections(np.zeros(1, int), np.ones(1), np.array([[10.0, 10, 40, 50]]))
    assert scored([(dets, objects)], 1).numbers["AP50"] > 0.99  # though all of it is in the crowd
    assert scored([(dets, objects)], 1).numbers["AR100"] == pytest.approx(0.7)
