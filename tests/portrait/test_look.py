"""Looking inside models end to end: the page, its figures, and what a model does not have."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import patchword
from patchword.cli import main
from patchword.errors import ConfigError, DataError
from patchword.heads.classify import classifier
from patchword.pages.plates import Strip
from patchword.portrait import checks
from patchword.portrait.answers import heats
from patchword.portrait.features import norms_panel
from patchword.portrait.pictures import MISTAKES, NEAR, named, telling
from patchword.portrait.sight import sample, sight, sitter
from patchword.portrait.weights import biases_panel, positions_panel
from tests.contract.tiny import TINY, made
from tests.inspection.tiny import SWIN, VIT
from tests.training.runs import FAST


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run on digits that has learnt enough to be right at times."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*FAST, "--epochs", "2", "--workers", "0", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(3):
        pixels = draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def saved(name, folder, **more):
    """Save a model whose weights are all different from what they start as."""
    torch.manual_seed(0)
    model = patchword.create_model(name, num_classes=4, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    patchword.save(model, folder)
    return folder


def views(page):
    """Return what the page's script is given."""
    found = re.findall(r'<script type="application/json" id="view-\d">(.*?)</script>', page)
    return [json.loads(text) for text in found]


def test_a_run_shows_held_out_pictures_mistakes_and_near_misses(run):
    found = patchword.inspect(run, device="cpu")
    assert found.path == run / "inspect.html"
    page = found.path.read_text(encoding="utf-8")
    (view,) = views(page)
    assert len(view["pictures"]) <= 16 and view["pictures"][0]["exact"]
    verdicts = [each["verdict"] for each in view["pictures"]]
    assert verdicts[0] == "right" and {"wrong", "near miss"} <= set(verdicts)
    assert {"answers", "distance", "entropy", "tokens", "levels", "map", "filters"} <= set(
        found.figures
    )
    assert all(path.is_file() for path in found.figures.values())
    assert page.count("<figcaption") >= len(found.figures)
    assert "data:image/png" in found._repr_html_() and found._repr_png_()[:4] == b"\x89PNG"
    assert len(page) < 8_000_000


def test_the_telling_pictures_are_what_they_are_said_to_be(run):
    who = sitter(run, "cpu")
    seen = sight(who, who.data)
    chosen = telling(seen)
    names = [seen.source.name(i) for i in range(len(seen.source))]
    top = seen.probabilities.sort(dim=1, descending=True).values
    margins = [float(top[i, 0] - top[i, 1]) for i in range(len(names)) if seen.right[i]]
    for picture in chosen:
        place = names.index(picture.name)
        answer = who.card.classes[int(seen.probabilities[place].argmax())]
        assert (answer == picture.truth) == (picture.why != "wrong") == seen.right[place]
        if picture.why == "near miss":
            assert float(top[place, 0] - top[place, 1]) in sorted(margins)[:NEAR]
    wrong = [float(top[names.index(p.name), 0]) for p in chosen if p.why == "wrong"]
    surest = sorted(float(top[i, 0]) for i in range(len(names)) if not seen.right[i])
    assert sorted(wrong) == surest[-MISTAKES:]


def test_what_is_seen_is_what_the_model_answers(run):
    who = sitter(run, "cpu")
    seen = sight(who, who.data)
    images = [seen.source.read(i) for i in (0, 5)]
    want = who.predictor.probabilities(torch.stack([who.predictor.pixels(i) for i in images]))
    torch.testing.assert_close(seen.probabilities[[0, 5]], want, rtol=1e-4, atol=1e-6)
    assert list(seen.levels) == [level.name for level in who.model.backbone.levels]


def test_a_sample_is_spread_over_the_source(run):
    source = sitter(run, "cpu").data.test
    found = sample(source, 10)
    assert len(found) == 10
    assert found.indices[0] == 0 and found.indices[-1] == len(source) - 1


@pytest.mark.parametrize(
    ("name", "image_size"),
    [
        ("deit_mini_distilled_patch4_32", 32),
        ("swin_mini_patch2_32", 32),
        ("pvt_v2_mini_32", 32),
        ("cait_mini_patch4_32", 32),
    ],
)
def test_each_layer_of_a_model_s_own_maps_is_on_the_page(name, image_size, tmp_path, pictures):
    model = saved(name, tmp_path / "model", image_size=image_size)
    found = patchword.inspect(model, str(pictures), out=tmp_path, device="cpu")
    (view,) = views(found.path.read_text(encoding="utf-8"))
    assert [each["title"] for each in view["pictures"]] == ["0.png", "1.png", "2.png"]
    layers = view["pictures"][0]["layers"]
    assert len({layer["name"] for layer in layers}) == len(layers) >= 4
    if name.startswith("deit"):
        assert layers[0]["queries"]["prefix"] == ["class token", "distillation token"]
    if name.startswith("swin"):
        assert layers[0]["size"] == 16 and "window" in layers[0]
    if name.startswith("cait"):
        assert layers[-1]["queries"]["rows"] == 0
    assert "map" not in found.figures, "nothing is known of held-out pictures"


def test_two_models_stand_side_by_side_and_one_lacks_attention(run, tmp_path):
    colour = saved("resnet18", tmp_path / "colour", image_size=32)
    with pytest.raises(ConfigError, match="of 1 channels and colour of 3"):
        patchword.inspect(run, against=colour, out=tmp_path / "two", device="cpu")
    convnet = saved("resnet18", tmp_path / "convnet", image_size=32, in_chans=1)
    found = patchword.inspect(run, against=convnet, out=tmp_path / "two", device="cpu")
    page = found.path.read_text(encoding="utf-8")
    assert len(views(page)) == 1 and page.count("resnet18 has no layer in which places") == 3
    assert "tokens" in found.figures and "tokens-against" in found.figures
    assert "between" in found.figures and "distance-against" not in found.figures


def test_what_is_missing_is_said(tmp_path, pictures, capsys):
    model = saved("vit_mini_patch4_32", tmp_path / "model")
    with pytest.raises(ConfigError, match="name pictures after it"):
        patchword.inspect(model, device="cpu")
    with pytest.raises(DataError, match="no picture is there"):
        patchword.inspect(model, str(tmp_path / "nowhere"), device="cpu")
    out = tmp_path / "seen"
    words = ["inspect", str(model), str(pictures), "--out", str(out), "--json", "--device", "cpu"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(out / "inspect.html")
    assert "not shown: " in (out / "inspect.html").read_text(encoding="utf-8")


def test_checks_say_their_price_first_and_are_drawn(tmp_path, pictures, capsys):
    model = saved("deit_mini_patch4_32", tmp_path / "model", image_size=32)
    found = patchword.inspect(model, str(pictures), out=tmp_path, checks=True, device="cpu")
    said = capsys.readouterr().err
    assert re.search(
        r"^checks of model: about \d+ s: \d+ passes over the pictures and \d+ maps", said
    )
    assert {"deletion", "insertion", "sanity"} <= set(found.figures)
    drawn = found.figures["deletion"].read_text(encoding="utf-8")
    assert "random order (area 0." in drawn and "Grad-CAM (area 0." in drawn


KINDS = {
    "learned": VIT,
    "sincos": replace(VIT, position="sincos_2d"),
    "swin": SWIN,
    "beit": next(iter(TINY["beit"].values())),
    "levit": next(iter(TINY["levit"].values())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_positions_of_every_kind_are_drawn(run, kind):
    model = classifier(made(KINDS[kind]), 3).eval()
    who = replace(sitter(run, "cpu"), model=model)
    added, relative = positions_panel(who).drawn, biases_panel(who).drawn
    assert (added is not None) == (kind in ("learned", "sincos"))
    assert (relative is not None) == (kind in ("swin", "beit", "levit"))
    if relative:
        assert isinstance(relative, Strip) and len(relative.rows) > 1
        heads = {len(row.pictures) for row in relative.rows}
        assert max(heads) == len(relative.columns)
    else:
        assert "nothing to its attention by relative position" in biases_panel(who).absent


def test_a_token_far_longer_than_the_others_is_named(run):
    who = sitter(run, "cpu")
    seen = sight(who, who.data)
    shown = telling(seen)[:3]
    before = norms_panel(who, shown).drawn
    assert before.columns[:2] == ("picture", "block 1") and len(before.rows) == 3

    def lengthen(_, inputs, output):
        output = output.clone()
        output[1, -1] *= 40
        return output

    handle = who.model.backbone.blocks[0].register_forward_hook(lengthen)
    after = norms_panel(who, shown).drawn
    handle.remove()
    words = [row.words[1] for row in after.rows]
    assert ["artifact" in word for word in words] == [False, True, False]
    assert tuple(after.rows[1].pictures[1][-1, -1]) == (255, 207, 79)  # the scale's end
    length = float(words[1].partition(" ")[0])
    assert length > 3 > float(before.rows[1].words[1].partition(" ")[0])


def test_models_of_other_families_and_sizes_stand_side_by_side(run, tmp_path, pictures):
    other = saved("swin_mini_patch2_32", tmp_path / "swin", image_size=32, in_chans=1)
    found = patchword.inspect(run, str(pictures), against=other, out=tmp_path / "two", device="cpu")
    page = found.path.read_text(encoding="utf-8")
    small, large = views(page)
    assert small["pictures"][0]["width"] < large["pictures"][0]["width"] == 32
    assert len(small["pictures"]) == len(large["pictures"])
    names = {"answers", "distance", "entropy", "tokens", "norms", "levels", "filters"}
    assert names | {f"{name}-against" for name in names} <= set(found.figures)
    assert "positions" in found.figures and "positions-against" not in found.figures
    assert "biases-against" in found.figures and "biases" not in found.figures


@pytest.mark.parametrize("name", ["deit_mini_patch4_32", "resnet18"])
def test_the_price_of_checks_counts_every_pass(name, tmp_path, monkeypatch, pictures):
    who = sitter(saved(name, tmp_path / "model", image_size=32), "cpu")
    shown, _ = named([str(pictures)], who.card.pixels)
    found = heats(who, shown)
    passes = {True: 0, False: 0}  # by whether gradients are recorded
    who.model.backbone.register_forward_hook(
        lambda *_: passes.update({torch.is_grad_enabled(): passes[torch.is_grad_enabled()] + 1})
    )
    monkeypatch.setattr(checks, "timed", lambda work: 2.0)
    foreseen = checks.price(who, shown, list(found))
    passes.update({True: 0, False: 0})
    checks.checked(who, shown, found)
    assert passes == {True: foreseen.gradients, False: foreseen.passes}
    assert foreseen.seconds == 2.0 * (foreseen.gradients + foreseen.passes)


def test_the_answers_name_only_the_maps_that_there_are(run, tmp_path, pictures):
    convnet = saved("resnet18", tmp_path / "convnet", image_size=32)
    patchword.inspect(convnet, str(pictures), out=tmp_path, device="cpu")
    page = (tmp_path / "inspect.html").read_text(encoding="utf-8")
    assert "Grad-CAM: where" in page and "rollout: what" not in page


@pytest.mark.peers
@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:resnet18"])
def test_of_other_libraries_models_it_is_said_what_is_not_recorded(name, tmp_path, pictures):
    model = saved(name, tmp_path / "model", image_size=32)
    found = patchword.inspect(model, str(pictures), out=tmp_path, checks=True, device="cpu")
    page = found.path.read_text(encoding="utf-8")
    library, _, ours = name.partition(":")
    said = f"{name} computes by the code of {library}, whose attention and positions are not"
    assert page.count(f"{said} recorded; of our own {ours} they are.") == 5
    assert "has no layer in which" not in page and "adds nothing" not in page
    assert {"filters", "tokens"} <= set(found.figures)
    assert ("deletion" in found.figures) == ("resnet" in name)
    if "vit" in name:
        assert page.count(f"{name} has no map of what its answers rest on.") == 3
