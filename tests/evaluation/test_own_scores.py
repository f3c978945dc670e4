"""What a task is scored by: protocols of labels and values, on data in the model's own order."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from patchword import evaluation
from patchword.data import Kind
from patchword.data.source import Joined
from patchword.errors import DataError
from patchword.evaluation.answers import aligned
from patchword.evaluation.multilabel import multilabel
from patchword.evaluation.protocol import Judged
from patchword.evaluation.regression import regression
from patchword.evaluation.topk import topk
from patchword.predictor import Scale
from tests.evaluation.subjects import NAMES, pictures, subject

SCALE = Scale(mean=(5.0, 0.0, -1.0), std=(2.0, 1.0, 3.0))


def known(kind, count=30, names=NAMES):
    """Return pictures of which more is known than one class."""
    source = pictures(count, names=names)
    rows = np.random.default_rng(1).random((count, len(names)), np.float32)
    rows = {"labels": rows > 0.5, "shares": rows / rows.sum(axis=1, keepdims=True)}.get(kind, rows)
    source.kind, source.targets = kind, rows.astype(np.float32)
    return source


def answering(kind, classes=NAMES):
    model = subject(classes=classes)
    model.card = replace(model.card, kind=kind, scale=SCALE if kind == "values" else None)
    return model


def judged(kind, names=NAMES):
    return Judged(name="blobs", train=known(kind), test=known(kind, names=names), split="test")


def own(kind):
    return evaluation.named(evaluation.OWN[kind])


def test_every_kind_has_its_own_protocol():
    assert set(evaluation.OWN) == set(get_args(Kind))
    assert all(kind in own(kind).wants for kind in evaluation.OWN)


def test_labels():
    model, data = answering("labels"), judged("labels")
    found = own("labels")(model, data)
    answers = model.logits(data.test)
    figures = multilabel(answers.logits, answers.targets)
    assert found.scores[0] == found["mAP"] and found["mAP"].value == figures.mean_ap
    assert found["mAP"].interval == figures.interval
    assert {s.under: s.value for s in found.scores if s.name == "AP"} == dict(
        zip(NAMES, figures.ap, strict=True)
    )
    assert [each.count for each in found.per_class] == data.test.targets.sum(axis=0).tolist()


def test_values_are_scored_in_their_own_units():
    model, data = answering("values"), judged("values")
    found = own("values")(model, data)
    answers = model.logits(data.test)
    restored = answers.logits * torch.tensor(SCALE.std) + torch.tensor(SCALE.mean)
    figures = regression(restored, answers.targets, SCALE.std)
    errors = {s.under: (s.value, s.interval) for s in found.scores if s.name == "MAE"}
    wanted = zip(figures.mae, figures.mae_interval, strict=True)
    assert errors == dict(zip(NAMES, wanted, strict=True))
    assert found.scores[0] == found["R2"] and found["R2"].value == figures.r2
    assert all(score.unit == "number" for score in found.scores)


def test_the_loss_of_shares_is_against_the_shares():
    model, data = answering("shares"), judged("shares")
    answers, found = model.logits(data.test), own("shares")(model, data)
    logs = answers.logits.double().log_softmax(dim=1)
    wanted = -(logs * answers.targets.double()).sum(dim=1).mean().item()
    assert found["loss"].value == pytest.approx(wanted)
    assert found["top-1"].value == topk(answers.logits, answers.labels).top1


def test_targets_come_in_the_models_order_and_what_the_data_lacks_is_nothing():
    data = judged("labels", names=("dog", "hen"))
    found = answering("labels", classes=("hen", "cat", "dog")).answers(data.test)
    assert torch.equal(found.targets[:, [2, 0]], torch.from_numpy(data.test.targets))
    assert not found.targets[:, 1].any()


def test_a_value_of_which_the_data_says_nothing_is_named():
    data = judged("values", names=("dog", "hen"))
    with pytest.raises(DataError, match="the data has no cat, which the model answers"):
        answering("values").answers(data.test)


@pytest.mark.parametrize(("model", "data"), [("class", "labels"), ("values", "class")])
def test_data_of_another_kind_is_refused(model, data):
    source = pictures(6) if data == "class" else known(data, 6)
    subject = answering(model)
    with pytest.raises(DataError, match="name data of that kind"):
        aligned(subject.logits(source), source, subject.card)


def test_all_pictures_of_a_set_keep_what_is_known_of_them():
    parts = [known("values", 4), known("values", 6)]
    joined = Joined(parts)
    assert joined.kind == "values"
    assert np.array_equal(joined.targets, np.concatenate([p.targets for p in parts]))
    framed = answering("values").framed(joined)
    assert framed.kind == "values" and np.array_equal(framed.targets, joined.targets)
