"""The page of heads' parity is what was measured, and measuring finds what is wrong."""

from dataclasses import replace

import pytest
import torch

from patchword import catalogue, heads
from tests.heads import HEADS
from tests.heads.differences import ALONE, pairs
from tests.heads.made import filled
from tests.heads.whole import makers, referenced
from tests.parity import dense
from tests.parity.dense import PAGE, Seen, called, draw, keep, kept, told

ROW = Seen(
    system="detr_resnet50",
    reference="transformers",
    run_at="128x128",
    errors={"scores": 1e-7, "loss box": 2e-7, "loss total": 3e-7, "gradients": 4e-13},
    matched="6 of 6 layers",
    passed=True,
    parameters=41_501_895,
)


def test_heads_with_a_live_reference_have_it_by_name_too():
    files = {heads.index()[name] for name in referenced()}
    assert files == {file for file, it in HEADS.items() if it.PEERS}
    assert {*makers("segformer_b3")} == {"transformers", "segmentation_models_pytorch"}
    assert not makers("deformable_detr_swin_tiny") and not makers("setr_naive_vit_large_patch16")


def test_the_page_is_what_the_rows_say(tmp_path):
    rows = kept()
    draw(rows, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == PAGE.read_text()
    assert all(row.passed for row in rows)
    assert {row.system for row in rows} >= {*referenced()}
    assert {row.system for row in rows if row.reference == "authors"} == {
        file for file, it in HEADS.items() if it.GOLDENS
    }
    differences = {row.system for row in rows if row.reference == "differences"}
    assert differences == {f"{name}, {kind}" for name in ALONE for kind in pairs(name)}


def test_every_model_is_counted_and_near_what_its_paper_says():
    stored = catalogue.stored()
    for name in [n for n in heads.index() if heads.config(n).backbone]:
        claim = catalogue.claims(heads.family(name)).get(name)
        assert name in stored
        if claim is not None and "without" not in claim.source:
            assert stored[name].parameters / 1e6 == pytest.approx(claim.params, rel=0.05)


def test_a_row_tells_outputs_from_losses_and_renews_the_one_before(tmp_path):
    cells = "scores 1.0e-07 | box 2.0e-07, total 3.0e-07 | 6 of 6 layers | 4.0e-13 | pass"
    assert f"| {cells} |" in told(ROW)
    path = tmp_path / "rows.json"
    keep([ROW, replace(ROW, system="dpt_base")], path)
    keep([replace(ROW, passed=False)], path)
    assert [row.passed for row in kept(path)] == [False, True]
    assert "**fail**" in told(kept(path)[0])


def test_outputs_of_goldens_are_called_by_what_they_are_of():
    names = {
        "loss.dict.loss_ce_1": "loss label",
        "loss.dict.loss_giou_enc": "loss overlap",
        "loss.total": "loss total",
        "loss.ce": "loss ce",
        "aux_outputs.0.pred_boxes": "boxes",
        "post.1.scores": "answers",
        "panoptic_ids.0": "answers",
        "stage.2": "stage",
        "logits_odd": "logits_odd",
    }
    assert {key: called(key) for key in names} == names


@pytest.mark.peers
@pytest.mark.parametrize(("system", "tool"), [("segformer", "peer"), ("detr", "sets")])
def test_a_wrong_weight_is_found(monkeypatch, system, tool):
    """Measured, a small network passes; not so once one of its tensors is another."""
    first = next(dense.by_kind(system))
    assert first.passed and first.errors["gradients"] < 1e-6

    def spoilt(*given):
        model, format_ = filled(*given)
        with torch.no_grad():
            model.head.scores.bias.add_(0.1)
        return model, format_

    monkeypatch.setattr(f"tests.heads.{tool}.filled", spoilt)
    assert not next(dense.by_kind(system)).passed
