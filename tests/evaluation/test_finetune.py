"""Full fine-tuning: which pictures, all weights, no trace in the model that is judged."""

import copy

import numpy as np
import pytest
import torch

from patchword import evaluate
from patchword.conversion import save
from patchword.errors import ConfigError
from patchword.evaluation.finetune import FineTuning, drawn
from patchword.evaluation.protocol import Judged, Subject, Tuning
from patchword.factory import build, describe
from patchword.training.tuned import settled, tuned
from tests.evaluation.subjects import pictures
from tests.training.runs import photos
from tests.weights.foreign import moved

NAMES = ("ant", "cat", "dog", "hen")


def trained(classes=4):
    card = describe("vit_micro_patch2_8", num_classes=classes, image_size=8, in_chans=1)
    torch.manual_seed(0)
    return build(card)


def test_pictures_are_drawn_by_the_classes_shares():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    found = drawn(labels, 100, 0)
    assert np.bincount(labels[found]).tolist() == [60, 30, 10]
    assert np.array_equal(found, drawn(labels, 100, 0)) and len({*found.tolist()}) == 100
    assert not np.array_equal(found, drawn(labels, 100, 1))
    assert {*drawn(labels, 50, 0).tolist()} < {*found.tolist()}
    assert np.array_equal(drawn(labels, None, 0), np.arange(1000))
    assert np.array_equal(drawn(labels, 2000, 0), np.arange(1000))


def test_all_weights_learn_and_the_model_stays_as_it_was():
    model, source = trained(), pictures(60)
    before = copy.deepcopy(model.state_dict())
    how = Tuning(recipe="tiny", steps=3, batch_size=20, lr=0.01)
    made, words = tuned(model, source, how)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert made.card.classes == source.classes and "3 steps of 20" in words
    same = [n for n, t in made.state_dict().items() if n in before and t.equal(before[n])]
    assert same == []
    again, _ = tuned(model, source, how)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in made.state_dict().items())


def test_what_is_learnt_is_scored():
    data = Judged(name="blobs", train=pictures(60), test=pictures(30, seed=1), split="test")
    subject = Subject(trained(), trained().card, tune=tuned)
    rules = FineTuning(recipe="tiny", steps=40, batch_size=20, lr=0.01, seeds=2)
    found = rules(subject, data)
    assert found["top-1"].value > 0.6 and found["top-1"].interval is not None
    assert "all weights learnt 60 pictures by tiny: 40 steps of 20" in found.notes[0]


def test_the_recipe_is_bit_s_for_all_sets():
    recipe = settled("vit_mini_patch4_32", pictures(60), Tuning(recipe="bit_hyperrule"))
    assert (recipe.name, recipe.steps, recipe.batch_size) == ("bit_hyperrule", 500, 60)
    with pytest.raises(ConfigError, match="at least 1"):
        FineTuning(images=0)


def test_several_sets_in_one_table(tmp_path, capsys):
    model = moved(build(describe("vit_mini_patch4_32", num_classes=3, image_size=16)))
    save(model, tmp_path / "model")
    places = [str(photos(tmp_path / name)) for name in ("a", "b")]
    settings = ("recipe=tiny", "steps=1", "batch_size=6", "images=12")
    found = evaluate(tmp_path / "model", *places, protocol="finetune", settings=settings)
    assert [each.data for each in (*found.findings, *found.means)] == ["a", "b", "mean"]
    values = [each["top-1"].value for each in found.findings]
    assert found.means[0]["top-1"].value == pytest.approx(sum(values) / 2)
    assert all("all weights learnt 12 pictures" in each.notes[0] for each in found.findings)
