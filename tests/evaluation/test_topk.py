"""Top-k accuracy, its interval and its confusion, against scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchword.evaluation.topk import topk, wilson


def answers(count=200, classes=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, classes, generator=draw)
    labels = torch.randint(0, classes, (count,), generator=draw)
    scores[torch.arange(count), labels] += 1.0
    return scores, labels


@pytest.mark.parametrize("classes", [2, 5, 7, 30])
def test_it_agrees_with_scikit_learn(classes):
    from sklearn import metrics

    scores, labels = answers(classes=classes)
    found, said = topk(scores, labels), scores.argmax(1)
    every = np.arange(classes)
    expected = metrics.confusion_matrix(labels, said, labels=every)
    assert np.array_equal(found.confusion, expected)
    assert found.count == 200
    assert found.top1 == pytest.approx(metrics.accuracy_score(labels, said))
    if classes > 5:
        top5 = metrics.top_k_accuracy_score(labels, scores, k=5, labels=every)
        assert found.top5 == pytest.approx(top5)
    else:
        assert found.top5 == 1.0
    loss = metrics.log_loss(labels, scores.double().softmax(1), labels=every)
    assert found.loss == pytest.approx(loss)
    recall = metrics.recall_score(labels, said, average=None, labels=every, zero_division=np.nan)
    assert found.recall == pytest.approx(recall, nan_ok=True)
    precision = metrics.precision_score(
        labels, said, average=None, labels=every, zero_division=np.nan
    )
    assert found.precision == pytest.approx(precision, nan_ok=True)


def test_rows_are_the_truth():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0], [5.0, 1.0, 0.0]])
    found = topk(scores, torch.tensor([0, 0, 1]))
    assert found.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert found.recall[:2] == (0.5, 0.0) and math.isnan(found.recall[2])  # no picture of it
    assert found.precision[::2] == (0.5, 0.0) and math.isnan(found.precision[1])  # never said


def test_nothing_at_all_has_no_score():
    found = topk(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert found.count == 0
    assert math.isnan(found.top1) and math.isnan(found.top5)
    assert found.interval == (0.0, 1.0)


@given(count=st.integers(1, 10_000), share=st.floats(0, 1))
def test_the_interval_is_scipys(count, share):
    from scipy.stats import binomtest

    hits = round(share * count)
    expected = binomtest(hits, count).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson(hits, count)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low < high <= 1


def test_an_interval_never_begins_below_nothing():
    """Rounding would take it there: a page would read "-0.0%"."""
    lows = [wilson(0, count)[0] for count in range(1, 1000)]
    assert not any(str(low).startswith("-") for low in lows)
    assert all(wilson(count, count)[1] == pytest.approx(1.0) for count in range(1, 1000))
