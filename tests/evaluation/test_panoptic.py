"""Panoptic quality: against panopticapi's figures, and pair by pair."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from patchword.data.scene import Segment
from patchword.errors import DataError, ShapeError
from patchword.evaluation.panoptic import Tally


def test_the_figures_are_panopticapi_s(shared):
    folder = shared / "goldens/dense_ssl_orig"
    given = load_file(folder / "metric_pq_a.io.safetensors")
    config = json.loads((folder / "metric_pq_a.json").read_text())["config"]
    number = {category["id"]: n for n, category in enumerate(config["categories"])}
    tally = Tally(len(number))
    for (truth, answer), gt, pred in zip(
        config["annotations"], given["in.gt"], given["in.pred"], strict=True
    ):
        tally.add(
            pred,
            [Segment(s["id"], number[s["category_id"]]) for s in answer["segments_info"]],
            gt,
            [
                Segment(s["id"], number[s["category_id"]], s["iscrowd"] == 1, s["area"])
                for s in truth["segments_info"]
            ],
        )
    wanted = given["out.per_class_iou_tp_fp_fn"]
    np.testing.assert_allclose(np.stack((tally.iou, *tally.counts), axis=1), wanted, atol=1e-9)
    things = [number[c["id"]] for c in config["categories"] if c["isthing"]]
    stuff = sorted(set(number.values()) - set(things))
    for name, among in (("all", None), ("things", things), ("stuff", stuff)):
        found = tally.score(among)
        for key in ("pq", "sq", "rq"):
            assert getattr(found, key) == pytest.approx(float(given[f"out.{name}.{key}"]), abs=1e-9)
        assert found.classes == given[f"out.{name}.n"]


def drawn(seed, classes=3):
    """Draw a picture of blocks, and an answer that is wrong in places, with void and crowds."""
    draw = np.random.default_rng(seed)
    truth = np.kron(draw.integers(0, 6, (4, 4)), np.ones((3, 4), int))
    answer = np.where(
        draw.random(truth.shape) < 0.3, np.roll(truth, 2, axis=draw.integers(2)), truth
    )
    answer = np.where(answer > 0, answer + 10, draw.integers(0, 2, truth.shape) * 40)
    segments = [
        Segment(int(key), int(draw.integers(classes)), bool(draw.random() < 0.3))
        for key in np.unique(truth[truth > 0])
    ]
    label = {s.id + 10: s.label if draw.random() < 0.8 else 0 for s in segments}
    answered = [Segment(int(k), label.get(int(k), 1)) for k in np.unique(answer[answer > 0])]
    return answer, answered, truth, segments


def pair_by_pair(pictures, classes):
    """Count as the paper and panopticapi's rules say, a mask at a time."""
    sums = np.zeros((classes, 4))
    for answer, answered, truth, segments in pictures:
        used, crowd = set(), {s.label: s.id for s in segments if s.crowd}
        for theirs in (s for s in segments if not s.crowd):
            for ours in answered:
                a, b = answer == ours.id, truth == theirs.id
                iou = np.sum(a & b) / np.sum((a & (truth != 0)) | b)
                if ours.label == theirs.label and iou > 0.5:
                    sums[ours.label, :2] += iou, 1
                    used |= {("ours", ours.id), ("theirs", theirs.id)}
            sums[theirs.label, 3] += ("theirs", theirs.id) not in used
        for ours in answered:
            a = answer == ours.id
            free = a & ((truth == 0) | (truth == crowd.get(ours.label, -1)))
            wrong = ("ours", ours.id) not in used and free.sum() / a.sum() <= 0.5
            sums[ours.label, 2] += wrong
    return sums


@pytest.mark.parametrize("seed", range(30))
def test_the_counts_are_those_of_the_definition(seed):
    pictures = [drawn(100 * seed + n) for n in range(3)]
    tally = Tally(3)
    for picture in pictures:
        tally.add(*picture)
    sums = pair_by_pair(pictures, 3)
    np.testing.assert_allclose(np.stack((tally.iou, *tally.counts), axis=1), sums, atol=1e-9)
    there = sums[:, 1:].sum(axis=1) > 0
    pq = sums[there, 0] / (sums[there, 1] + sums[there, 2] / 2 + sums[there, 3] / 2)
    assert tally.score().pq == pytest.approx(pq.mean(), abs=1e-9)
    assert (np.isnan(tally.per_class()[0]) == ~there).all()


def test_half_is_not_enough_for_a_match_and_not_too_much_for_a_mistake():
    truth, answer = np.zeros((1, 8), int), np.zeros((1, 8), int)
    truth[0, :4], answer[0, :2] = 1, 2  # IoU of one half
    tally = Tally(1)
    tally.add(answer, [Segment(2, 0)], truth, [Segment(1, 0)])
    assert tally.counts.T.tolist() == [[0, 1, 1]]
    tally = Tally(1)
    tally.add(np.roll(answer, 3), [Segment(2, 0)], truth, [Segment(1, 0)])  # half of it on void
    assert tally.counts.T.tolist() == [[0, 1, 1]]
    tally = Tally(1)
    tally.add(np.roll(answer, 4), [Segment(2, 0)], truth, [Segment(1, 0)])
    assert tally.counts.T.tolist() == [[0, 0, 1]]


def test_nothing_at_all_has_no_score():
    tally, empty = Tally(2), np.zeros((2, 2), int)
    tally.add(empty, [], empty, [])
    assert np.isnan(tally.score().pq) and tally.score().classes == 0


def test_maps_and_lists_that_do_not_tally_are_refused():
    ones, zeros, tally = np.ones((2, 2), int), np.zeros((2, 2), int), Tally(2)
    with pytest.raises(ShapeError, match="resize the answer"):
        tally.add(ones, [], np.zeros((3, 2), int), [])
    with pytest.raises(DataError, match="has id 1, which is in no segment"):
        tally.add(ones, [], zeros, [])
    with pytest.raises(DataError, match="the answer lists segment 4, of which"):
        tally.add(zeros, [Segment(4, 0)], zeros, [])
    with pytest.raises(DataError, match="the truth's segment 1 is of class 2; wanted: 0 to 1"):
        tally.add(zeros, [], ones, [Segment(1, 2)])
