"""Calibration, against scikit-learn and against sums worked out by hand."""

import math

import pytest
import torch

from patchword.evaluation.calibration import Calibration, brier, expected_error, reliability
from tests.evaluation.subjects import judged, subject


def probabilities(count=500, classes=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    found = (3 * torch.randn(count, classes, generator=draw)).double().softmax(dim=1)
    return found, torch.randint(0, classes, (count,), generator=draw)


def test_the_bins_are_scikit_learns():
    """Of one class against the other, where the answer is always the same one."""
    from sklearn.calibration import calibration_curve

    draw = torch.Generator().manual_seed(0)
    sure = 0.5 + 0.5 * torch.rand(400, generator=draw).double()
    labels = (torch.rand(400, generator=draw) > sure).long()
    right, confidence = calibration_curve(labels == 0, sure, n_bins=10)
    bins = [b for b in reliability(torch.stack([sure, 1 - sure], dim=1), labels, 10) if b.count]
    assert [b.accuracy for b in bins] == pytest.approx(right.tolist())
    assert [b.confidence for b in bins] == pytest.approx(confidence.tolist())


def test_the_error_is_the_papers_sum():
    """Three pictures in the bin up to 0.8, two of them right; one, wrong, in the last."""
    rows = [[0.7, 0.3], [0.8, 0.2], [0.75, 0.25], [0.05, 0.95]]
    found = torch.tensor(rows, dtype=torch.float64)
    bins = reliability(found, torch.tensor([0, 0, 1, 0]), 5)
    assert [each.count for each in bins] == [0, 0, 0, 3, 1]
    assert math.isnan(bins[0].accuracy)
    expected = 3 / 4 * abs(2 / 3 - 0.75) + 1 / 4 * abs(0 - 0.95)
    assert expected_error(bins) == pytest.approx(expected)


def test_a_picture_on_the_edge_of_a_bin_is_in_the_lower_one():
    found = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.75, 0.25]])
    assert [b.count for b in reliability(found, torch.tensor([0, 0, 0]), 4)] == [0, 1, 1, 1]


def test_the_brier_score_is_scikit_learns():
    from sklearn.metrics import brier_score_loss

    found, labels = probabilities()
    expected = brier_score_loss(labels, found, labels=range(4), scale_by_half=False)
    assert brier(found, labels).mean().item() == pytest.approx(expected, abs=1e-12)


def test_a_protocol_gives_all_of_them():
    from sklearn.metrics import log_loss

    model, data = subject(), judged()
    found = Calibration(bins=5)(model, data)
    logits, labels = model.answers(data.test)[:2]
    said = logits.double().softmax(dim=1)
    assert found["NLL"].value == pytest.approx(log_loss(labels, said, labels=range(3)))
    low, high = found["NLL"].interval
    assert low < found["NLL"].value < high
    assert found["ECE"].value == expected_error(found.reliability)
    assert sum(each.count for each in found.reliability) == found.count == len(data.test)
