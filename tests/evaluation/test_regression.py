"""Scores of values, against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from patchword.evaluation.regression import regression


def drawn(count, seed=0):
    random = np.random.default_rng(seed)
    truth = random.normal(size=(count, 2)) * (3, 40) + (5, -100)
    answers = truth + random.normal(size=truth.shape) * (1, 30)
    return torch.from_numpy(answers), torch.from_numpy(truth)


def test_the_figures_are_scikit_learn_s():
    answers, truth = drawn(200)
    found = regression(answers, truth, (3.0, 40.0))
    raw = {"multioutput": "raw_values"}
    assert found.mae == pytest.approx(mean_absolute_error(truth, answers, **raw))
    assert found.rmse == pytest.approx(root_mean_squared_error(truth, answers, **raw))
    assert found.r2 == pytest.approx(r2_score(truth, answers))
    scaled = (answers - truth) / torch.tensor([3.0, 40.0])
    assert found.loss == pytest.approx(scaled.square().mean().item())
    assert regression(answers, truth, (3.0, 40.0)) == found


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    whole = regression(*drawn(50_000, seed=99), (3.0, 40.0))
    hits = np.zeros(3, int)
    for seed in range(16):
        found = regression(*drawn(150, seed), (3.0, 40.0))
        pairs = (
            (whole.r2, found.interval),
            (whole.mae[0], found.mae_interval[0]),
            (whole.rmse[1], found.rmse_interval[1]),
        )
        hits += [low <= value <= high for value, (low, high) in pairs]
    assert (hits >= 13).all()


def test_a_value_that_does_not_vary_explains_nothing():
    answers, truth = drawn(20)
    truth[:, 1] = 7
    found = regression(answers, truth, (3.0, 1.0))
    assert found.r2 == pytest.approx(r2_score(truth[:, 0], answers[:, 0]))
    assert np.isnan(regression(answers, truth * 0, (1.0, 1.0)).r2)
