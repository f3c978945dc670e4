"""The study of what networks look like inside: its figures, its sentences, its way through."""

import json

import pytest
import torch

from benchmarks import portraits, portraits_figures, portraits_page
from patchword.inspection.drawn import GridOfGrids, drawn
from tests.inspection.tiny import SWIN, VIT, images, perturbed

GRID = (7, 7)


def similarity(alike):
    """Return a grid of grids of what a function says of steps down and along."""
    rows, columns = torch.cartesian_prod(*map(torch.arange, GRID)).double().T
    down, along = ((axis[:, None] - axis).abs() for axis in (rows, columns))
    return drawn(GridOfGrids, alike(down, along).view(*GRID, *GRID))


def test_positions_that_know_the_distance_alone_have_no_lines():
    round_ = portraits_figures.positions(similarity(lambda d, a: -(d**2 + a**2).sqrt().round()))
    assert round_["lines"] == pytest.approx(0, abs=1e-9) and round_["follows"] > 0.95
    crossed = portraits_figures.positions(
        similarity(lambda d, a: (d == 0).double() + (a == 0).double())
    )
    assert crossed["lines"] == pytest.approx(1.0)
    noise = torch.rand(49, 49, generator=torch.Generator().manual_seed(0))
    found = portraits_figures.positions(similarity(lambda d, a: noise))
    assert abs(found["lines"]) < 0.1 and abs(found["follows"]) < 0.1


def test_even_attention_is_a_share_of_one_and_windows_are_less():
    even = perturbed(VIT)
    with torch.no_grad():
        for block in even.blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    found = portraits_figures.heads(even, images(VIT))
    assert len(found) == 3 and found[0] == pytest.approx([1.0] * 4, rel=1e-5)
    windows = portraits_figures.heads(perturbed(SWIN), images(SWIN))
    assert max(s for layer in windows for s in layer) < 0.8


def test_waves_are_smooth_and_noise_is_not():
    backbone = perturbed(VIT)
    rough = portraits_figures.waves(backbone)["roughness"]
    with torch.no_grad():
        weight = backbone.stem.patch_embed.proj.weight
        ramp = torch.linspace(-1, 1, 4)
        weight.mul_(1e-3).add_(torch.randn(16, 1, 1, 1) * ramp + torch.randn(16, 3, 1, 1))
    smooth = portraits_figures.waves(backbone)
    assert 0.7 < rough < 1.3 and smooth["explained"] > 0.9


FRESH = [[[1.0, 0.99], [1.0, 1.01]]]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([[0.3, 0.95], [0.9, 0.9]], ("has both: of its 2 heads 1 local, 1 whole", "by 28 points")),
        ([[0.3, 0.4], [0.2, 0.2]], ("local heads alone", "15 points nearer")),
        ([[0.95, 0.95], [0.95, 0.95]], ("none is local", "does not change with depth")),
        ([[0.6, 0.8], [0.9, 0.9]], ("none sees the whole (60% to 80%)", "by 20 points")),
    ],
)
def test_sentences_follow_from_the_heads(layers, words):
    found = portraits_page.heads_said(layers, FRESH)
    assert all(word in found for word in words), found
    assert ("as in the paper" in found) == ("has both" in words[0])


@pytest.mark.parametrize(
    ("follows", "lines", "words"),
    [
        (0.8, 0.3, "as in the paper, closer patches have"),
        (0.8, 0.0, "rows and columns do not stand out beyond what nearness"),
        (0.0, 0.3, "is not to be seen, but rows and columns stand out"),
        (0.0, 0.0, "is not to be seen, and rows and columns do not"),
    ],
)
def test_sentences_follow_from_the_positions(follows, lines, words):
    fresh = [{"follows": 0.1, "lines": 0.1}, {"follows": -0.1, "lines": 0.02}]
    assert words in portraits_page.positions_said({"follows": follows, "lines": lines}, fresh)


@pytest.mark.slow
def test_it_gets_through_and_measures_nothing_twice(tmp_path, monkeypatch, capsys):
    small = {
        "resnet": {"model": "resnet18", "image_size": 32},
        "vit": {"model": "vit_micro_patch2_8", "image_size": 8},
        "deit": {"model": "deit_micro_patch2_8", "image_size": 8},
    }
    monkeypatch.setattr(portraits, "NETWORKS", small)
    monkeypatch.setattr(portraits, "FRESH", 2)
    monkeypatch.setattr(portraits, "looked_at", lambda page, folder: None)
    monkeypatch.setattr(portraits, "data_of", lambda sets: "digits")
    out = tmp_path / "out"
    words = ["--out", str(out), "--steps", "3"]
    portraits.main(words)
    found = json.loads((out / "results.json").read_text())
    assert set(found["figures"]) == set(small) and set(found["pages"]) == {*small, "vit-resnet"}
    assert found["figures"]["resnet"]["trained"]["heads"] is None
    assert found["checks"]["vit"]["passes"] > 0 and len(found["figures"]["vit"]["fresh"]) == 2
    page = (out / "page.md").read_text()
    assert page.count("| DeiT |") == 5 and "few steps of training" in page
    before = {path: path.stat().st_mtime_ns for path in (out / "measured").iterdir()}
    portraits.main(words)
    assert before == {path: path.stat().st_mtime_ns for path in (out / "measured").iterdir()}
    with pytest.raises(SystemExit, match="was begun with"):
        portraits.main(["--out", str(out), "--steps", "4"])
