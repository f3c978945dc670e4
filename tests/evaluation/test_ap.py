"""What is told of single pictures and of pairs of classes, beside COCO's numbers."""

import numpy as np
import pytest

from patchword.errors import ConfigError
from patchword.evaluation.ap import Precision, Spotted, confused, curves, f1_of, per_class
from patchword.evaluation.detection import Detection, Detections, Objects
from patchword.factory import describe


def spotted(found, known):
    """Return answers (class, score, box) and objects (class, box, crowd), boxes by corners."""
    labels, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    kinds, places, crowd = zip(*known, strict=True) if known else ((), (), ())
    boxes, places = (np.array(rows, float).reshape(-1, 4) for rows in (boxes, places))
    for rows in (boxes, places):
        rows[:, 2:] -= rows[:, :2]
    return Spotted(
        0,
        Detections(np.array(labels, int), np.array(scores, float), boxes),
        Objects(np.array(kinds, int), places, places[:, 2] * places[:, 3], np.array(crowd, bool)),
    )


A, B, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def test_what_was_taken_for_what():
    it = spotted(
        [(0, 0.9, A), (1, 0.8, B), (1, 0.7, FAR), (0, 0.1, B)],
        [(0, A, False), (0, B, False), (1, (70, 0, 80, 10), False)],
    )
    counts = confused(it, 0.5, 2)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert f1_of(counts) == pytest.approx(2 * 1 / (3 + 3))
    assert confused(it, 0.0, 2).tolist() == [[2, 0, 0], [0, 0, 1], [0, 2, 0]]


def test_an_object_goes_to_an_answer_of_its_own_class_though_another_is_surer():
    it = spotted([(1, 0.9, A), (0, 0.6, A)], [(0, A, False)])
    assert confused(it, 0.5, 2).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_answers_on_a_crowd_do_not_count():
    it = spotted([(0, 0.9, (1, 1, 5, 5)), (1, 0.9, (2, 2, 6, 6))], [(0, A, True)])
    assert not confused(it, 0.5, 2).any() and f1_of(confused(it, 0.5, 2)) == 1


@pytest.mark.parametrize(
    ("found", "known", "f1"),
    [([], [], 1.0), ([(0, 0.9, A)], [], 0.0), ([], [(0, A, False)], 0.0)],
)
def test_a_picture_may_have_nothing_on_either_side(found, known, f1):
    assert f1_of(confused(spotted(found, known), 0.5, 2)) == f1


def by_trying(pictures, classes):
    """Return the best F1 and its score, by trying every score that there is."""
    best = (0.0, -1.0)
    for least in sorted({s for it in pictures for s in it.found.scores.tolist()}, reverse=True):
        right = said = 0
        there = sum(int((~it.objects.crowd).sum()) for it in pictures)
        for it in pictures:
            total = Detection(classes)
            sure = it.found.scores >= least
            total.add(Detections(*(part[sure] for part in it.found[:3])), it.objects)
            for match in (m for some in total.matches for m in some):
                right += int((match.hit[0, 0] & ~match.ignored[0, 0]).sum())
                said += int((~match.ignored[0, 0]).sum())
        best = max(best, (2 * right / (said + there), -least), key=lambda pair: pair[0])
    return -best[1], best[0]


@pytest.mark.parametrize("seed", range(5))
def test_the_operating_point_is_the_best_of_all(seed):
    draw = np.random.default_rng(seed)

    def box():
        corner = draw.integers(0, 20, 2)
        return (*corner, *(corner + draw.integers(5, 15, 2)))

    pictures = [
        spotted(
            [(draw.integers(2), draw.integers(1, 9) / 10, box()) for _ in range(6)],
            [(draw.integers(2), box(), draw.random() < 0.2) for _ in range(4)],
        )
        for _ in range(5)
    ]
    total = Detection(2)
    for it in pictures:
        total.add(it.found, it.objects)
    assert total.operating_point() == pytest.approx(by_trying(pictures, 2))


def test_where_nothing_is_right_nothing_is_kept():
    total = Detection(1)
    assert np.isnan(total.operating_point()[1])
    it = spotted([(0, 0.9, FAR)], [(0, A, False)])
    total.add(it.found, it.objects)
    assert total.operating_point() == (1.0, 0.0)


def test_classes_and_curves():
    it = spotted([(0, 0.9, A), (0, 0.8, FAR)], [(0, A, False), (0, B, False)])
    total = Detection(3)
    total.add(it.found, it.objects)
    rows = per_class(total.score(), confused(it, 0.5, 3))
    assert (rows[0].count, rows[0].recall, rows[0].precision) == (2, 0.5, 0.5)
    assert (
        rows[1].count == 0 and np.isnan(rows[1].recall) and np.isnan(dict(rows[1].measures)["AP"])
    )
    drawn = curves(total.score(), describe("resnet50", num_classes=3))
    assert [each.name for each in drawn] == ["mean, overlap 0.5", "mean, overlap 0.75", "0"]
    precise = np.array(drawn[0].precision)
    assert precise[:51] == pytest.approx(1) and np.isnan(precise[51:]).all()


def test_a_threshold_is_a_score():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Precision(threshold=-0.1)
