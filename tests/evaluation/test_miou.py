"""Scores of class maps: against the reference's tensors, and pixel by pixel."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from patchword.errors import DataError, ShapeError
from patchword.evaluation.miou import Confusion


def one_by_one(answers, truth, classes):
    """Count as the definition says: a class at a time, over all pixels that are known."""
    known = truth != 255
    answers, truth = answers[known], truth[known]
    rows = []
    for label in range(classes):
        ours, theirs = answers == label, truth == label
        both, either = np.sum(ours & theirs), np.sum(ours | theirs)
        iou = both / either if either else np.nan
        accuracy = both / theirs.sum() if theirs.any() else np.nan
        rows.append((iou, accuracy, 2 * both / (ours.sum() + theirs.sum()) if either else np.nan))
    return np.array(rows).T, np.mean(answers == truth) if truth.size else np.nan


def counted(answers, truth, classes):
    counts = Confusion(classes)
    for one, other in zip(answers, truth, strict=True):
        counts.add(torch.from_numpy(one), torch.from_numpy(other))
    return counts.score()


def test_the_figures_are_mmsegmentation_s(shared):
    given = load_file(shared / "goldens/dense_ssl_orig/metric_mmseg_miou_a.io.safetensors")
    found = counted(given["in.pred"], given["in.gt"], 5)
    there = given["out.iou_isnan"] == 0
    assert found.mean_iou == pytest.approx(float(given["out.miou"]), abs=1e-9)
    assert found.all_accuracy == pytest.approx(float(given["out.all_acc"]), abs=1e-9)
    assert found.iou[there] == pytest.approx(given["out.iou_nan0"][there], abs=1e-9)
    assert found.accuracy == pytest.approx(given["out.acc_nan0"], abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_the_definition(seed):
    draw = np.random.default_rng(seed)
    truth = draw.choice([0, 1, 2, 3, 255], (4, 9, 13), p=[0.4, 0.3, 0.15, 0.05, 0.1])
    answers = np.where(
        draw.random(truth.shape) < 0.6, truth % 255, draw.integers(0, 6, truth.shape)
    )
    found = counted(answers, truth, 7)
    (iou, accuracy, dice), right = one_by_one(answers, truth, 7)
    for ours, wanted in ((found.iou, iou), (found.accuracy, accuracy), (found.dice, dice)):
        np.testing.assert_allclose(ours, wanted, atol=1e-12)
    assert np.isnan(found.iou[6]) and found.iou[5] == 0 and np.isnan(found.accuracy[5])
    assert found.mean_iou == pytest.approx(np.nanmean(iou), abs=1e-12)
    assert found.mean_accuracy == pytest.approx(np.nanmean(accuracy), abs=1e-12)
    assert found.mean_dice == pytest.approx(np.nanmean(dice), abs=1e-12)
    assert found.all_accuracy == pytest.approx(right, abs=1e-12)


def test_pictures_count_together_whatever_their_sizes_and_types():
    draw = np.random.default_rng(0)
    whole = Confusion(4)
    maps = [draw.integers(0, 4, (2, 5, width)) for width in (3, 8)]
    for answers, truth in maps:
        whole.add(torch.from_numpy(answers).byte(), torch.from_numpy(truth).int())
    flat = [torch.from_numpy(np.concatenate([m[k].ravel() for m in maps])) for k in range(2)]
    at_once = Confusion(4)
    at_once.add(flat[0][None], flat[1][None])
    assert (whole.counts == at_once.counts).all()


def test_nothing_but_void_has_no_score():
    found = counted(np.zeros((1, 2, 2), int), np.full((1, 2, 2), 255), 3)
    assert np.isnan([found.mean_iou, found.mean_dice, found.all_accuracy]).all()
    assert found.pixels == 0


def test_what_cannot_be_counted_is_refused():
    counts, zeros = Confusion(3), torch.zeros(2, 2, dtype=torch.uint8)
    with pytest.raises(ShapeError, match=r"\(2, 2\), the truth of \(3, 2\)"):
        counts.add(zeros, torch.zeros(3, 2, dtype=torch.uint8))
    with pytest.raises(DataError, match="the truth has class 7; wanted: 0 to 2, or 255"):
        counts.add(zeros, zeros + 7)
    with pytest.raises(DataError, match="an answer has class -1"):
        counts.add(zeros.int() - 1, zeros)
    counts.add(zeros + 200, zeros + 255)  # where nothing is known, anything may be said
    assert counts.score().pixels == 0
