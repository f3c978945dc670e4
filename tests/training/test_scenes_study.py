"""The study of dense prediction: it gets through, goes on, and its page says what came out."""

import json
from dataclasses import asdict

import pytest
import torch

from benchmarks import scenes, scenes_page
from benchmarks.scenes import FIELDS, TRIALS, Trial
from benchmarks.scenes_learners import SYSTEMS, adopted, ours, packaged
from patchword.tasks.segment import Masked


def cell(trial, seed, score):
    field = scenes_page.TITLES[trial.field][2]
    return {
        **asdict(trial),
        "seed": seed,
        "steps": 1200,
        "seconds": 481.2,
        "parameters": 3_700_000,
        "scores": {field: score, "classes": {"sky": score, "road": 1.0}},
        "made": "some day",
    }


def test_the_page_pairs_seeds_and_says_what_is_missing():
    by = {"ours": (0.5, 0.52, 0.54), "transformers": (0.4, 0.41)}
    trials = [Trial("street", "segformer", seeds=3, by=name) for name in by]
    cells = {
        f"{trial.name}/{seed}": cell(trial, seed, score)
        for trial in trials
        for seed, score in enumerate(by[trial.by])
    }
    found = {
        "cells": cells,
        "trials": [{**asdict(trial), "name": trial.name} for trial in trials],
        "backbone_minutes": 12,
    }
    drawn = scenes_page.page(found)
    assert "| segformer, ours | scratch | 52.00 (50.00, 52.00, 54.00) |" in drawn
    assert "| segformer, transformers | scratch | 40.50 (40.00, 41.00) so far |" in drawn
    assert "| segformer | ours over transformers | 2 | +10.50 [" in drawn
    assert "| system | from | sky | road |" in drawn and "Nothing is measured yet." in drawn


def test_every_pair_takes_equally_many_seeds_and_minutes():
    by = {(t.field, t.system): t for t in TRIALS if t.by == "transformers"}
    for trial in TRIALS:
        assert trial.field in FIELDS and trial.system in SYSTEMS
        other = by.get((trial.field, trial.system))
        if other is not None and trial.by == "ours" and not trial.start:
            assert (trial.seeds, trial.minutes) == (other.seeds, other.minutes)
    assert len(by) == 2 and len({t.name for t in TRIALS}) == len(TRIALS)


PAIRS = [("street", "segformer"), ("cells", "deformable_detr")]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "system"), PAIRS)
def test_both_sides_of_a_pair_are_of_one_size_and_learn_everything(name, system):
    counts = []
    for make in (ours, packaged):
        torch.manual_seed(0)
        task = make(system, FIELDS[name], 3)
        norms = [p for p in task.modules() if type(p).__name__.endswith("FrozenBatchNorm2d")]
        assert not norms and all(p.requires_grad for p in task.parameters())
        counts.append(sum(p.numel() for p in task.parameters()))
    assert counts[0] == counts[1]


@pytest.mark.peers
def test_ours_with_their_fresh_weights_begins_where_theirs_does():
    images = torch.randn(2, 3, 64, 64)
    batch = Masked(images, torch.randint(3, (2, 64, 64)), torch.ones(2))
    losses = []
    for make in (adopted, packaged):
        torch.manual_seed(0)
        task = make("segformer", FIELDS["street"], 3).eval()
        losses.append(task(batch, task.count(batch)).total)
    torch.testing.assert_close(*losses)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "cells"),
    [("street/segformer/*/0", 4), ("cells/deformable_detr/*/0", 3), ("room/dpt_mit_b0/*/0", 2)],
)
def test_it_gets_through_and_goes_on(shared, tmp_path, only, cells):
    words = [str(shared / "sets"), "--only", only, "--steps", "2", "--out", str(tmp_path)]
    assert scenes.main([*words, "--minutes", "0"]) == 0
    assert not (tmp_path / "scenes.json").exists()
    assert scenes.main(words) == 0
    found = json.loads((tmp_path / "scenes.json").read_text())["cells"]
    seconds = {name: one.get("seconds") for name, one in found.items()}
    assert len([name for name in found if not name.startswith("backbones")]) == cells
    assert scenes.main(words) == 0
    again = json.loads((tmp_path / "scenes.json").read_text())["cells"]
    assert {name: one.get("seconds") for name, one in again.items()} == seconds
    assert len(list(tmp_path.rglob("0.png"))) >= 2
