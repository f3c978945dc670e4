"""Few-shot, linear probe and k-NN give what scikit-learn gives on the same features, to 1e-6."""

import numpy as np
import pytest
import torch

from patchword.errors import ConfigError, DataError
from patchword.evaluation.fewshot import BIAS, FLOOR, FewShot, LeastSquares, draw, over_draws
from patchword.evaluation.knn import NearestNeighbours, neighbours, vote
from patchword.evaluation.linear import LinearProbe, Logistic, scaled
from patchword.evaluation.protocol import Judged
from tests.evaluation.subjects import Given, features, judged, pictures, subject

TRAIN, TEST = features(150), features(40, seed=1)
CLASSES = ("a", "b", "c", "d", "e")


def given(train=TRAIN, test=TEST):
    """Return a subject with these features, and the data set that they are of."""
    sources = (pictures(len(labels), names=CLASSES) for _, labels in (train, test))
    data = Judged("given", train=next(sources), test=next(sources), split="test")
    return Given(train, test), data


@pytest.mark.parametrize("width", [8, 200], ids=["more pictures", "more features"])
def test_least_squares_is_scikit_learns_ridge(width):
    """The bias is one more feature, and penalised as the others are."""
    from sklearn.linear_model import Ridge

    x, y = features(50, width=width)
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0) + FLOOR
    whitened = torch.cat([(x - mean) / std, torch.full((50, 1), BIAS)], dim=1)
    targets = 2.0 * torch.nn.functional.one_hot(y, 5) - 1
    ridge = Ridge(alpha=1024.0, fit_intercept=False, solver="svd", tol=0).fit(whitened, targets)
    fitted = LeastSquares(x, y, 5, 1024.0)
    assert fitted.weight.T.numpy() == pytest.approx(ridge.coef_, abs=1e-9)
    unseen, _ = features(30, width=width, seed=2)
    expected = ridge.predict(torch.cat([(unseen - mean) / std, torch.full((30, 1), BIAS)], dim=1))
    assert fitted(unseen).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [None, 0.07, 1.0])
@pytest.mark.parametrize("k", [1, 10])
def test_neighbours_are_scikit_learns(k, temperature):
    from sklearn.neighbors import KNeighborsClassifier

    def weigh(distances):
        return np.exp((1 - distances) / temperature)

    weights = "uniform" if temperature is None else weigh
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
    expected = theirs.fit(TRAIN[0], TRAIN[1]).predict_proba(TEST[0])
    similar, indices = neighbours(TRAIN[0], TEST[0], k)
    found = vote(similar, TRAIN[1][indices], 5, temperature)
    assert found.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_the_linear_probe_is_scikit_learns_logistic_regression(c):
    """From zeros, and from another fit: the minimum is one. The classes overlap."""
    from sklearn.linear_model import LogisticRegression

    x, y = features(150, spread=0.4)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x, y)
    unseen = features(40, seed=1, spread=0.4)[0]
    fitted = Logistic(x.shape[1], 5)
    for start in (c / 10, c):
        fitted.fit(x, y, start, tolerance=1e-10, iterations=5000)
    found = fitted(unseen).softmax(dim=1)
    assert found.numpy() == pytest.approx(theirs.predict_proba(unseen), abs=1e-6)
    assert fitted.coefficients[:-1].T.numpy() == pytest.approx(theirs.coef_, abs=1e-5)


def test_features_are_scaled_as_scikit_learn_scales_them():
    from sklearn.preprocessing import StandardScaler, normalize

    train, test = TRAIN[0].clone(), TEST[0].clone()
    train[:, 3] = test[:, 3] = 7.0  # says nothing, and is divided by nothing
    scaler = StandardScaler().fit(train)
    for found, rows in zip(scaled(train, test, "standard"), (train, test), strict=True):
        assert found.numpy() == pytest.approx(scaler.transform(rows), abs=1e-9)
    for found, rows in zip(scaled(train, test, "unit"), (train, test), strict=True):
        assert found.numpy() == pytest.approx(normalize(rows), abs=1e-12)


def test_the_penalty_is_chosen_without_the_test_pictures():
    """Other test pictures, the same choice; and it is the best on the split that is held out."""
    from sklearn.linear_model import LogisticRegression

    from patchword.data.source import hold_out

    train = features(100, spread=0.3)
    probe = LinearProbe(C=(1e-4, 1e-2, 1.0), scale="none", tolerance=1e-9)
    found = [probe(*given(train, features(40, seed=s, spread=0.3))) for s in (1, 2)]
    assert found[0].notes == found[1].notes and found[0].scores != found[1].scores
    kept, held = hold_out(train[1].numpy(), share=0.2, seed=0)
    x, y = (part.numpy() for part in train)
    rights = {
        c: LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(x[kept], y[kept]) for c in probe.C
    }
    best = max(probe.C, key=lambda c: rights[c].score(x[held], y[held]))
    assert found[0].notes[0].startswith(f"C = {best:g} was chosen on 20 of the 100 training")
    expected = LogisticRegression(C=best, tol=1e-8, max_iter=1000).fit(x, y)
    test = features(40, seed=1, spread=0.3)
    assert found[0]["top-1"].value == expected.score(*(part.numpy() for part in test))


def test_few_shots_are_some_of_each_class_and_more_begin_with_the_same():
    labels = np.repeat([0, 1, 2], [4, 9, 2])
    few, more = draw(labels, 2, seed=3), draw(labels, 5, seed=3)
    assert np.bincount(labels[few]).tolist() == [2, 2, 2]
    assert np.bincount(labels[more]).tolist() == [4, 5, 2]
    assert set(few) < set(more)
    assert set(draw(labels, 2, seed=4)) != set(few)


def test_few_shot_scores_are_means_over_draws():
    found = FewShot(shots=(2, 40), seeds=3)(*given())
    hits = []
    for seed in range(3):
        few = draw(TRAIN[1].numpy(), 2, seed)
        fitted = LeastSquares(TRAIN[0][few], TRAIN[1][few], 5, 1024.0)
        hits.append((fitted(TEST[0]).argmax(1) == TEST[1]).double().mean().item())
    assert found.scores[0].value == pytest.approx(np.mean(hits))
    assert [score.under for score in found.scores] == ["2 shots", "40 shots"]
    assert "a class has 30 training pictures" in found.notes[0]


def test_the_interval_over_draws_is_scipys():
    from scipy import stats

    values = [0.5, 0.6, 0.55]
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert over_draws(values) == pytest.approx(expected)


def test_where_there_are_few_pictures_some_neighbours_are_left_out():
    found = NearestNeighbours(neighbours=(10, 200))(*given())
    assert {score.under for score in found.scores} == {"k = 10"}
    assert found.notes == ("only 150 training pictures: no k of 200",)
    with pytest.raises(DataError, match="150 training pictures and the fewest neighbours"):
        NearestNeighbours(neighbours=(200,))(*given())


@pytest.mark.parametrize("protocol", [FewShot(shots=(3,)), LinearProbe(), NearestNeighbours()])
def test_a_probe_reads_what_the_model_sees(protocol):
    """Pictures of three brightnesses, a network with random weights: far above a third."""
    found = protocol(subject(), judged(train=90))
    assert found.scores[0].value > 0.6
    low, high = found.scores[0].interval
    assert low < found.scores[0].value < high


def test_a_probe_is_not_scored_on_what_it_learns_from():
    data = judged()
    same = Judged(name="one", train=data.train, test=data.train, split="train")
    with pytest.raises(DataError, match="no pictures to score a probe on"):
        LinearProbe()(subject(), same)


@pytest.mark.parametrize(
    ("protocol", "settings"),
    [
        (FewShot, {"shots": ()}),
        (FewShot, {"penalty": 0.0}),
        (LinearProbe, {"C": (0.0,)}),
        (LinearProbe, {"holdout": 1.0}),
        (NearestNeighbours, {"neighbours": (0,)}),
        (NearestNeighbours, {"temperature": 0.0}),
    ],
)
def test_settings_that_mean_nothing_are_refused(protocol, settings):
    with pytest.raises(ConfigError, match="wanted"):
        protocol(**settings)
