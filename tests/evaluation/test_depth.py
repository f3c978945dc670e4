"""Errors of depth maps: the formulas written out, and what each alignment makes good."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from patchword.errors import DataError, ShapeError
from patchword.evaluation.depth import DepthErrors, DepthRule, depth_errors, mean_errors


def drawn(seed=0, size=(7, 9)):
    draw = np.random.default_rng(seed)
    truth = draw.uniform(0.5, 9, size)
    answer = truth * draw.uniform(0.6, 1.7, size)
    return (
        torch.from_numpy(answer),
        torch.from_numpy(truth),
        torch.from_numpy(draw.random(size) < 0.8),
    )


def written_out(answer, truth, valid):
    pairs = list(zip(answer[valid].tolist(), truth[valid].tolist(), strict=True))
    n, logs = len(pairs), [math.log(d / g) for d, g in pairs]
    shares = [sum(max(d / g, g / d) < 1.25**k for d, g in pairs) / n for k in (1, 2, 3)]
    return {
        "abs_rel": sum(abs(d - g) / g for d, g in pairs) / n,
        "sq_rel": sum((d - g) ** 2 / g for d, g in pairs) / n,
        "rmse": math.sqrt(sum((d - g) ** 2 for d, g in pairs) / n),
        "rmse_log": math.sqrt(sum(x * x for x in logs) / n),
        "log10": sum(abs(math.log10(d) - math.log10(g)) for d, g in pairs) / n,
        "silog": 100 * math.sqrt(sum(x * x for x in logs) / n - (sum(logs) / n) ** 2),
        "delta1": shares[0],
        "delta2": shares[1],
        "delta3": shares[2],
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_are_those_of_the_formulas(seed):
    answer, truth, valid = drawn(seed)
    found = asdict(depth_errors(answer, truth, valid, DepthRule()))
    assert found == pytest.approx(
        written_out(answer.numpy(), truth.numpy(), valid.numpy()), abs=1e-9
    )


PERFECT = {
    "median": lambda truth: 0.3 * truth,
    "scale": lambda truth: 7 * truth,
    "scale_shift": lambda truth: 2 - 0.1 * truth,
    "disparity": lambda truth: 5 / truth - 0.4,
}


@pytest.mark.parametrize("name", PERFECT)
def test_an_alignment_makes_good_what_it_says(name):
    _, truth, valid = drawn()
    found = depth_errors(PERFECT[name](truth), truth, valid, DepthRule(alignment=name))
    assert found.abs_rel == pytest.approx(0, abs=1e-9) and found.delta1 == 1
    other = "median" if name == "scale_shift" else "none"
    worse = depth_errors(PERFECT[name](truth), truth, valid, DepthRule(alignment=other))
    assert worse.abs_rel > 0.1


@pytest.mark.parametrize("name", ["scale_shift", "disparity"])
def test_least_squares_are_numpy_s(name):
    answer, truth, valid = drawn(3)
    wanted = truth.numpy()[valid] if name == "scale_shift" else 1 / truth.numpy()[valid]
    given = answer.numpy()[valid]
    columns = np.stack((given, np.ones_like(given)), axis=1)
    factor, shift = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    aligned = torch.from_numpy(factor * answer.numpy() + shift)
    if name == "disparity":
        aligned = 1 / aligned.clamp(min=1e-12)  # behind infinity: the far end
    found = depth_errors(answer, truth, valid, DepthRule(alignment=name))
    by_hand = depth_errors(aligned, truth, valid, DepthRule())
    assert asdict(found) == pytest.approx(asdict(by_hand), abs=1e-9)


def test_answers_are_cut_to_the_range_and_truths_outside_do_not_count():
    truth = torch.tensor([[1.0, 20.0, 0.0, 5.0]])
    answer = torch.tensor([[-3.0, 7.0, 7.0, 99.0]])
    found = depth_errors(answer, truth, truth >= 0, DepthRule(near=0.5, far=10.0))
    assert found.abs_rel == pytest.approx((0.5 / 1 + 5 / 5) / 2)
    behind = depth_errors(-truth, truth, truth > 0, DepthRule(alignment="disparity", far=25.0))
    assert math.isfinite(behind.rmse)


def test_an_answer_that_does_not_vary_still_has_errors():
    _, truth, valid = drawn()
    for name in ("none", "median", "scale", "scale_shift", "disparity"):
        for level in (0.0, 2.0):
            rule = DepthRule(alignment=name)
            found = depth_errors(torch.full_like(truth, level), truth, valid, rule)
            assert np.isfinite(list(asdict(found).values())).all()


def test_pictures_count_alike():
    several = [depth_errors(*drawn(seed), DepthRule()) for seed in range(3)]
    mean = mean_errors(several)
    assert mean.rmse == pytest.approx(sum(errors.rmse for errors in several) / 3)
    assert mean.delta3 == pytest.approx(sum(errors.delta3 for errors in several) / 3)
    assert isinstance(mean_errors([]), DepthErrors) and math.isnan(mean_errors([]).silog)


def test_what_cannot_be_scored_is_refused():
    answer, truth, valid = drawn()
    with pytest.raises(ShapeError, match="resize the answer"):
        depth_errors(answer[:-1], truth, valid, DepthRule())
    with pytest.raises(DataError, match="is the unit right"):
        depth_errors(answer, truth * 1000, valid, DepthRule())
    with pytest.raises(DataError, match="no finite number"):
        depth_errors(answer * float("nan"), truth, valid, DepthRule())
