"""What the protocol of segments tells beside the quality itself."""

import numpy as np
import torch

from patchword.data.scene import Panoptic, Segment
from patchword.evaluation.panoptic import Tally
from patchword.evaluation.pq import confused, numbered, per_class, scores_of, segments
from patchword.factory import describe
from patchword.heads.panoptic import Parts

TRUTH = Panoptic(
    torch.tensor([[7, 7, 9, 9], [7, 7, 9, 9], [0, 0, 9, 9]], dtype=torch.int32),
    (Segment(7, 1), Segment(9, 0)),
)
FOUND = Parts(torch.tensor([[1, 1, 2, 2], [1, 1, 2, 0], [1, 1, 2, 2]]), torch.tensor([0, 2]))


def test_pixels_are_counted_by_class_and_answer():
    counts = confused(FOUND, TRUTH, 3)
    wanted = np.zeros((4, 4), int)
    wanted[1, 0], wanted[0, 2], wanted[0, 3] = 4, 5, 1  # void counts nowhere
    assert np.array_equal(counts, wanted)


def test_classes_are_numbered_as_the_model_numbers_them():
    other = numbered(TRUTH, torch.tensor([2, 0]))
    assert [segment.label for segment in other.segments] == [0, 2]
    tally = Tally(3)
    tally.add(FOUND.ids.numpy(), segments(FOUND), other.ids.numpy(), other.segments)
    assert tally.counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_means_are_of_all_of_things_and_of_stuff():
    tally = Tally(3)
    other = numbered(TRUTH, torch.tensor([2, 0]))
    tally.add(FOUND.ids.numpy(), segments(FOUND), other.ids.numpy(), other.segments)
    scores = scores_of(tally, {0}, describe("resnet50", num_classes=3))
    found = {score.name: score.value for score in scores if not score.under}
    assert scores[0].name == "PQ"
    assert found["PQ things"] == tally.per_class()[0, 0] == 1  # its pixels on void leave the union
    assert found["PQ stuff"] == tally.per_class()[0, 2] == 5 / 6
    rows = per_class(tally)
    assert [row.count for row in rows] == [1, 0, 1] and rows[2].recall == 1
    assert np.isnan(rows[1].recall) and dict(rows[2].measures)["SQ"] == 5 / 6
