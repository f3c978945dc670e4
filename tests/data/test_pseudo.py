"""Which pseudo-labels are learnt, and how often, beside the paper's words in plain Python."""

import numpy as np
import pytest
import torch

from patchword.data.pseudo import PseudoLabels, Relabelled, as_shares, selected
from patchword.data.source import ArraySource, Joined, Targets
from patchword.errors import ConfigError


def probabilities(count=200, classes=4, seed=0):
    """Some classes are frequent, and some rows could not be read."""
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(count, classes)) + [3, 1, 0, -1]
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows[::17] = np.nan
    return rows.astype(np.float32)


def plainly(rows, threshold, per_class):
    """Return for each class its pictures, the surest first, above the threshold."""
    found = {}
    for number, row in enumerate(rows):
        if not np.isnan(row).any() and row.max() >= threshold:
            found.setdefault(int(row.argmax()), []).append((-float(row.max()), number))
    ranked = {label: [number for _, number in sorted(own)] for label, own in found.items()}
    if per_class == "mean":
        per_class = sum(map(len, ranked.values())) // len(ranked)
    return ranked, per_class


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("per_class", ["mean", 5, 60])
def test_each_class_has_its_surest_or_copies(threshold, per_class):
    rows = probabilities()
    how = PseudoLabels(threshold=threshold, per_class=per_class)
    found = selected(rows, how, seed=3)
    ranked, count = plainly(rows, threshold, per_class)
    assert (np.diff(found) >= 0).all()
    labels = rows[found].argmax(axis=1)
    for label, own in ranked.items():
        mine = found[labels == label]
        assert len(mine) == count
        if len(own) >= count:
            assert set(mine) == set(own[:count])
        else:
            copies = np.bincount(mine)[own]
            assert copies.sum() == count and copies.max() - copies.min() <= 1
    assert set(labels) == set(ranked)
    assert np.array_equal(found, selected(rows, how, seed=3))


def test_they_may_be_taken_as_they_come():
    rows = probabilities()
    found = selected(rows, PseudoLabels(threshold=0.6, per_class="any"), seed=0)
    wanted = [n for n, row in enumerate(rows) if not np.isnan(row).any() and row.max() >= 0.6]
    assert found.tolist() == wanted
    assert len(selected(rows * 0 + 0.25, PseudoLabels(threshold=0.5), seed=0)) == 0


def test_what_is_copied_is_chosen_by_the_seed():
    rows = probabilities()
    how = PseudoLabels(per_class=60)
    assert not np.array_equal(selected(rows, how, seed=0), selected(rows, how, seed=1))


def test_a_relabelled_source_has_the_pictures_of_another():
    images = torch.randint(0, 256, (5, 1, 3, 3), dtype=torch.uint8)
    labelled = ArraySource(images, np.array([0, 1, 0, 1, 1]), ("a", "b"), "train")
    whole = as_shares(labelled)
    assert whole.kind == "shares" and whole.targets.tolist() == np.eye(2)[labelled.labels].tolist()
    rows = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
    known = Targets(("a", "b"), rows.argmax(axis=1), "shares", rows)
    guessed = Relabelled(labelled, np.array([4, 4, 2]), known)
    assert torch.equal(guessed.read(1), images[4]) and guessed.name(2) == "train[2]"
    other = Relabelled(labelled, np.array([4, 4, 2]), known._replace(targets=rows[::-1].copy()))
    assert guessed.fingerprint() != other.fingerprint() != labelled.fingerprint()
    joined = Joined([whole, guessed])
    assert joined.kind == "shares" and len(joined) == 8
    assert joined.targets[5:].tolist() == rows.tolist()
    assert joined.labels.tolist() == [0, 1, 0, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("wrong", [{"threshold": 1.0}, {"threshold": -0.1}, {"per_class": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PseudoLabels(**wrong)
