"""Scores of labels, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from patchword.evaluation.multilabel import Ranked, multilabel


def drawn(count, labels, seed=0):
    random = np.random.default_rng(seed)
    truth = random.random((count, labels)) < np.linspace(0.1, 0.6, labels)
    logits = np.round(truth * 1.5 + random.normal(size=truth.shape) - 1, 1)  # with many ties
    return torch.from_numpy(logits), torch.from_numpy(truth.astype(np.float32))


def test_the_figures_are_scikit_learn_s():
    logits, truth = drawn(300, 4)
    found, said = multilabel(logits, truth), logits >= 0
    wanted = average_precision_score(truth, logits, average=None)
    assert found.ap == pytest.approx(wanted)
    assert found.mean_ap == pytest.approx(wanted.mean())
    assert found.f1_macro == pytest.approx(f1_score(truth, said, average="macro"))
    assert found.f1_micro == pytest.approx(f1_score(truth, said, average="micro"))
    assert found.exact == pytest.approx((said == (truth > 0)).all(dim=1).double().mean().item())
    assert found.having == tuple(truth.sum(dim=0).int().tolist())


def test_a_label_that_no_picture_has_is_left_out():
    logits, truth = drawn(50, 3)
    truth[:, 1] = 0
    found = multilabel(logits, truth)
    assert np.isnan(found.ap[1]) and np.isfinite(found.mean_ap)
    assert found.mean_ap == pytest.approx((found.ap[0] + found.ap[2]) / 2)


def test_counted_twice_is_there_twice():
    logits, truth = (part.numpy() for part in drawn(40, 1))
    counts = np.arange(40) % 3.0
    often = [np.repeat(part[:, 0], counts.astype(int)) for part in (truth, logits)]
    wanted = average_precision_score(*often)
    found = Ranked(logits[:, 0], truth[:, 0] > 0.5).average_precision(counts)
    assert found == pytest.approx(wanted)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    whole = multilabel(*drawn(40_000, 2, seed=99)).mean_ap
    hits = [
        low <= whole <= high
        for low, high in (multilabel(*drawn(200, 2, seed)).interval for seed in range(16))
    ]
    assert sum(hits) >= 13
