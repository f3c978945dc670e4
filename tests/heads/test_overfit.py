"""What the overfitting benchmark holds systems against: the truth, as an output's grid shows it."""

import json

import pytest
import torch

from benchmarks import overfit
from benchmarks.overfit import SYSTEMS, Boxes, Segments
from patchword.heads.detector import Answers


@pytest.fixture
def sets(shared):
    return shared / "sets"


def model_of(name, case):
    torch.manual_seed(0)
    system = SYSTEMS[name]
    head = case.fitted(system.head)
    return head.assemble(system.backbone.build(), len(case.source.classes))


@pytest.mark.parametrize("name", ["axial_deeplab", "max_deeplab"])
def test_the_truth_loses_something_on_the_grid_and_is_what_fresh_weights_are_not(sets, name):
    case = Segments(sets)
    model = model_of(name, case)
    ceiling = case.ceiling(model)
    assert 0.5 < ceiling < 1
    assert case.score(model.eval()) < 0.2 * ceiling


@pytest.mark.parametrize("name", ["axial_deeplab", "max_deeplab"])
def test_a_finer_grid_has_a_higher_ceiling(sets, name, monkeypatch):
    """Read at every pixel, the truth is the truth, but for what post-processing leaves out."""
    case = Segments(sets)
    model = model_of(name, case)
    coarse = case.ceiling(model)
    answers = model.eval().answers(case.batch.images)
    large = {
        name: t.new_zeros(*t.shape[:2], 128, 128) if t.ndim == 4 else t
        for name, t in answers.items()
    }
    monkeypatch.setattr(model, "answers", lambda images: large)
    assert coarse < case.ceiling(model) <= 1


class Knows:
    """A detector that answers with every so many-th object of the files."""

    def __init__(self, views, every):
        self.views, self.every = views, every

    def detect(self, images, sizes, original):
        assert [tuple(size) for size in original] == [view.size for view in self.views]
        found = []
        for view in self.views:
            boxes, labels = (part[:: self.every] for part in view.scene.objects[:2])
            found.append(Answers(torch.ones(len(labels)), labels, boxes))
        return found


def test_the_file_s_boxes_score_one_and_those_of_half_the_objects_less(sets):
    case = Boxes(sets)

    assert case.score(Knows(case.views, every=1)) == pytest.approx(1.0)
    assert case.score(Knows(case.views, every=2)) < Boxes.share
    assert all(len(view.scene.objects.labels) in overfit.FEW["objects"] for view in case.views)


def test_a_row_is_kept_and_what_is_learnt_is_not_learnt_again(sets, tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    words = [str(sets), "--only", "detr", "--minutes", "0", "--out", str(out)]
    assert overfit.main(words) == 1
    (row,) = json.loads(out.read_text())
    assert (row["system"], row["steps"], row["reached"]) == ("detr", 0, False)
    overfit.keep({**row, "reached": True}, out)
    monkeypatch.setattr(overfit, "learnt", None)
    assert overfit.main(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_loss_falls(sets, name):
    system = SYSTEMS[name]
    case = system.case(sets)
    task = system.task(model_of(name, case))
    made = torch.optim.AdamW(task.parameters(), lr=system.lr)
    losses = []
    for _ in range(8):
        made.zero_grad()
        loss = task(case.batch, task.count(case.batch)).total
        loss.backward()
        made.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
