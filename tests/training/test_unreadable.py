"""Pictures that cannot be read: named, counted and left out; too many are an error."""

import json
from dataclasses import replace

import pytest
import torch

from patchword import evaluate
from patchword.cli import main
from patchword.data import Frame, Mixing, Pixels, open_data
from patchword.data.source import cache
from patchword.engine.loop import gradient
from patchword.errors import DataError
from patchword.evaluation.answers import scores
from patchword.training.feed import Feed
from tests.engine.small import PLAIN, fresh, plan
from tests.training.runs import photos

BROKEN = b"no picture at all"


def hurt(folder, count, split="train"):
    """Break the first pictures of a split, and return their names."""
    paths = sorted((folder / split).rglob("*.png"))[:count]
    for path in paths:
        path.write_bytes(BROKEN)
    return [str(path.relative_to(folder)) for path in paths]


def grey(folder):
    return open_data(folder, pixels=Pixels(channels=1), seed=0)


def feed(source, batch_size=8, **settings):
    return Feed(
        source,
        replace(PLAIN, batch_size=batch_size, **settings),
        Frame(image_size=(8, 8), crop=1.0),
        steps=100,
        seed=0,
        workers=0,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("cached", [False, True])
def test_one_in_twenty_is_left_out_and_named(tmp_path, cached):
    folder = photos(tmp_path, splits=("train",), classes=("cat", "dog"), each=10)
    broken = hurt(folder, 1)
    source = grey(folder).train
    items = feed(cache(source) if cached else source, batch_size=20)
    (labelled,) = next(items(0))
    assert labelled.weights.sum() == 19
    (place,) = (labelled.weights == 0).nonzero().flatten().tolist()
    assert labelled.images[place].unique().numel() == 1  # nothing stands in for it
    assert [line for line in items.complaints() if broken[0] in line] == items.complaints()
    assert len(items.complaints()) == 1


def test_two_in_twenty_are_an_error_that_names_one(tmp_path):
    folder = photos(tmp_path, splits=("train",), classes=("cat", "dog"), each=10)
    broken = hurt(folder, 2)
    source = grey(folder).train
    with pytest.raises(DataError, match=r"2 of 20 training pictures.*more than 5%") as caught:
        next(feed(source, batch_size=20)(0))
    assert any(name in str(caught.value) for name in broken)
    assert "\n" not in str(caught.value)


def test_the_same_picture_is_counted_once(tmp_path):
    folder = photos(tmp_path, splits=("train",), classes=("cat", "dog"), each=10)
    hurt(folder, 1)
    source = grey(folder).train
    items = feed(source, batch_size=10)
    batches = items(0)
    assert sum((next(batches)[0].weights == 0).sum().item() for _ in range(8)) == 4  # epochs
    assert len(items.unreadable) == 1


def test_what_cannot_be_read_moves_no_weight(tmp_path):
    """Whatever its pixels are, the gradient is that of the other pictures."""
    state = fresh()
    state.task.train()
    folder = photos(tmp_path, splits=("train",), classes=("a", "b", "c"), each=8)
    hurt(folder, 1)
    source = grey(folder).train
    (labelled,) = next(feed(source, batch_size=24)(0))
    kept = labelled.weights == 1
    others = labelled._replace(
        images=labelled.images[kept], targets=labelled.targets[kept], weights=labelled.weights[kept]
    )
    assert len(others.images) == 23
    found = []
    for batch in (labelled, others):
        gradient(state, [batch], plan())
        found.append(torch.cat([p.grad.flatten() for p in state.task.parameters()]))
    torch.testing.assert_close(*found)


def test_partners_of_unreadable_pictures_are_left_out_of_mixed_batches(tmp_path):
    """Mixed with nothing, they would teach that nothing is a class."""
    folder = photos(tmp_path, splits=("train",), classes=("cat", "dog"), each=10)
    hurt(folder, 1)
    source = grey(folder).train
    (labelled,) = next(feed(source, batch_size=20, mixing=Mixing(mixup=1.0))(0))
    off = (labelled.weights == 0).nonzero().flatten().tolist()
    assert len(off) == 2 and off[0] ^ 1 == off[1]


def test_held_out_pictures_that_cannot_be_read_are_not_scored(tmp_path):
    folder = photos(tmp_path)
    broken = hurt(folder, 3, split="val")
    source = grey(folder).validation
    answers = scores(fresh().task.model.eval(), source, Frame(image_size=(8, 8), crop=1.0))
    assert answers.indices.tolist() == list(range(3, 18))
    assert len(answers.logits) == len(answers.labels) == 15
    assert all(name in line for name, line in zip(broken, answers.unreadable, strict=True))


def test_a_training_says_what_it_skipped_and_goes_on(tmp_path, capsys):
    folder = photos(tmp_path / "photos", each=10)
    broken = [*hurt(folder, 1), *hurt(folder, 1, split="val")]
    words = ["train", str(folder), "--out", str(tmp_path / "run"), "--epochs", "1"]
    words += ["--model", "vit_mini_patch2_8", "--image-size", "8", "--precision", "fp32"]
    assert main([*words, "--workers", "0"]) == 0
    said = capsys.readouterr().out
    skipped = [line for line in said.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 2
    assert all(name in line for name, line in zip(broken, skipped, strict=True))
    assert "1 unreadable" in said
    kept = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    assert kept["validation"]["count"] == 29
    found = evaluate(tmp_path / "run").findings[0]
    assert found.count == 29 and broken[1] in found.unreadable[0]
    hurt(folder, 2)
    assert main([*words, "--workers", "0", "--out", str(tmp_path / "other")]) == 2
    assert "cannot be read, more than 5%" in capsys.readouterr().err
